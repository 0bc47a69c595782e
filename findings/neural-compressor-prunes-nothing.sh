#!/usr/bin/env bash
# neural-compressor 3.10: it has no pruning any more.
#
# Expected: `WeightPruningConfig` and `prepare_compression` (2.x), by which layers are pruned while they train, have a successor in 3.x.
# What happens: neither module is there, and no file of the package has pruning in its name or defines anything called so;
# quantisation is what is left.
# Why it matters when pruning: many pages and papers name it as the tool for 2:4 and block sparsity on Intel's processors, and a
# recipe with a lower bound (`>=2.0`) stops at its import.
# What to do: pin 2.x for such a recipe, or mask by other means and quantise with 3.x.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps neural-compressor==3.10
cat > "$folder/run.py" <<'PY'
import importlib.metadata
import re

files = [file for file in importlib.metadata.files("neural-compressor") if file.suffix == ".py"]
print("has quantisation:", any("quant" in str(file) for file in files))
for name in ("neural_compressor/training.py", "neural_compressor/config.py"):
    print(name, name in map(str, files))
print("files called after pruning:", [str(file) for file in files if "prun" in file.name.lower()])
named = re.compile(r"^\s*(?:class|def) \w*[Pp]run\w*", re.MULTILINE)
print("classes and functions:", sorted({hit.strip() for file in files for hit in named.findall(file.locate().read_text())}))
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
has quantisation: True
neural_compressor/training.py False
neural_compressor/config.py False
files called after pruning: []
classes and functions: []
SEEN
