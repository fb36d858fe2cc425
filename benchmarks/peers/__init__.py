"""The trainers that are compared, each as a process of its own or called from one; needs no package of this project."""
