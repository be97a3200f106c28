"""Writes the messages and texts of tests/vectors/v1 as seeds: corpus/header, corpus/text, corpus/open; and those of seeds/audit as corpus/audit."""
import hashlib, json, pathlib

here = pathlib.Path(__file__).parent
corpus = here / "corpus"
seeds = {b""}
for file, lists in (("seal.json", ["vectors"]), ("refuse.json", ["refuse", "opens"])):
    document = json.loads((here / "../vectors/v1" / file).read_text())
    pieces = document.get("pieces_hex", {})
    for vector in (vector for name in lists for vector in document[name]):
        if "text" in vector:
            seeds.add(vector["text"].encode())
        if "ciphertext_hex" in vector:
            seeds.add(bytes.fromhex(vector["ciphertext_hex"]))
        if "ciphertext_pieces" in vector:
            seeds.add(bytes.fromhex("".join(pieces[name] for name in vector["ciphertext_pieces"])))
for target in ("header", "text", "open"):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        # A header is decided by its first bytes: long seeds would only slow it down.
        if target == "open" or len(seed) <= 2048:
            (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
folder = corpus / "audit"
folder.mkdir(parents=True, exist_ok=True)
for seed in (here / "seeds/audit").iterdir():
    (folder / seed.name).write_bytes(seed.read_bytes())
print(f"{len(seeds)} seeds")
