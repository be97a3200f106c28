"""Verifies a folder of Keypod's audit logs, from docs/audit-log.md and the C2SP documents alone: none of Keypod's code.
Says `clean`, `open`, `unclean end` or `tampered`, then a line a problem; exits with 0, or 1 if tampered, or 2 if it
cannot begin. Needs Python 3.9 or newer and the package `cryptography`. It holds the hashes of one log in memory."""
import argparse, base64, calendar, collections, contextlib, fcntl, hashlib, json, os, re, stat, sys, zlib
from time import strptime
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

BUNDLE_MAX, NOTE_MAX = 256 * (2 + 65535), 128 << 10
TYPES = {"mfa": bool, "emergency": bool, "approved": bool, "version": int, "bytes": int, "policies": list, "part": list,
         "items": list, "counts": dict, "detail": dict, "from": dict, **dict.fromkeys("time operation outcome code key "
         "request caller proof transport subject context ciphertext new_subject new_context policy_set".split(), str)}
HEAD = r"(\S+/\S+)\s(0|[1-9]\d{0,14})\s([A-Za-z0-9+/]{43}=)"
CERTIFICATE = rf"keypod-audit-certificate/v1\nlog (\S+)\nkey (\S+)\ntime (\S+)\nnumber (\d+)\nprevious (none|{HEAD})\n"

def must(holds, what):
    if not holds:
        raise ValueError(what)

seconds = lambda text: calendar.timegm(strptime(text, "%Y-%m-%dT%H:%M:%SZ"))  # Since 1970.

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def read(folder, path, longest):
    """A file below `folder`, or None. No link is followed, no pipe waited for, no more read than `longest` bytes."""
    here = [os.path.join(folder, *path.split("/")[:end]) for end in range(path.count("/") + 2)]
    must(not any(map(os.path.islink, here)), f"{path} is a link")
    if os.path.exists(here[-1]):
        must(stat.S_ISREG((found := os.stat(here[-1])).st_mode) and found.st_size <= longest, f"{path} is no such file")
        return open(here[-1], "rb").read(longest)

def parse_key(line):
    """A verification key of signed-note: its name, its id, and what checks its signature over a text."""
    name, key_id, data = line.split("+", 2)
    data, key_id = base64.b64decode(data, validate=True), bytes.fromhex(key_id)
    wanted = sha256(data[1:]) if data[0] == 2 else sha256(name.encode(), b"\n", data)
    must(data[0] in (1, 2) and key_id == wanted[:4], "another key's id, or a key of an unknown type")
    if data[0] == 2:
        key = serialization.load_der_public_key(data[1:])
        must(isinstance(key.curve, ec.SECP256R1), "a key on another curve than P-256")
        return name, key_id, lambda mark, text: key.verify(mark, text, ec.ECDSA(hashes.SHA256()))
    return name, key_id, ed25519.Ed25519PublicKey.from_public_bytes(data[1:]).verify

def parse_note(data):
    """The text of a signed note, and its signatures: name, and id with signature."""
    text, _, marks = data.decode().rpartition("\n\n")
    must(text and marks.endswith("\n") and not re.search(r"[\x00-\x09\x0b-\x1f]", data.decode()), "no signed note")
    marks = [re.fullmatch(r"— (\S+) (\S+)", line).groups() for line in marks[:-1].split("\n")]
    return text + "\n", [(name, base64.b64decode(mark, validate=True)) for name, mark in marks]

def is_signed(text, marks, keys):
    """Whether one of `keys` signed. One that did so wrongly spoils the note: its check raises."""
    return [check(mark[4:], text.encode()) for name, key_id, check in keys
            for signer, mark in marks if (signer, mark[:4]) == (name, key_id)] != []

def parse_head(text):
    origin, size, root = re.fullmatch(HEAD, text).groups()
    return origin, int(size), root

def merkle(leaves):  # The root hash of RFC 6962.
    level = list(leaves) or [sha256()]
    while len(level) > 1:
        level = [sha256(b"\1", *level[at:at + 2]) for at in range(0, len(level) - 1, 2)] + level[len(level) // 2 * 2:]
    return level[0]

def unpack(data):  # The entries of a bundle, and how many bytes come after them.
    entries, at = [], 0
    while len(entries) < 256 and at + 2 < (end := at + 2 + int.from_bytes(data[at:at + 2], "big")) <= len(data):
        entries, at = entries + [data[at + 2:end]], end
    return entries, len(data) - at

def path_of(level, index, width=256):
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    return f"tile/{level}/" + re.sub(r"(\d{3})(?=\d)", r"x\1/", digits) + ("" if width == 256 else f".p/{width}")

def full_bundle(log, index):
    data, packed = (read(log, path_of("entries", index) + end, BUNDLE_MAX) for end in ("", ".gz"))
    if data is None and packed is not None:
        unzip = zlib.decompressobj(31)
        data = unzip.decompress(packed, BUNDLE_MAX + 1)
        must(len(data) <= BUNDLE_MAX and unzip.eof and not unzip.unused_data, f"bundle {index} is no sound gzip")
    return data

def parse_entry(data):
    """An entry. A field that is not known may be there; a known one twice, or of another type, may not."""
    once = lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else must(False, "a field is there twice")
    must(not re.search(rb"[\x00-\x1f]", data) and data[:1] + data[-1:] == b"{}", "no object in one line")
    entry = json.loads(data.decode(), object_pairs_hook=once)
    for name in entry.keys() & TYPES.keys():
        must(type(entry[name]) is TYPES[name] and not (TYPES[name] is int and entry[name] < 0), f"the type of {name}")
    must({"operation", "outcome"} <= entry.keys() and re.fullmatch(r"[\d:T.-]{19,29}Z", entry["time"]), "a field lacks")
    return entry["operation"], entry.get("detail", {}), seconds(entry["time"][:19] + "Z")

class Log:
    def __init__(self, folder, name, problems, authorities):
        self.folder, self.problems, (number, self.id) = os.path.join(folder, name), problems, name.split("-", 1)
        self.number, self.origin, self.key, self.previous, self.sha256 = int(number), None, None, None, None
        self.size, self.root, self.time, self.leaves, self.closes, self.prunes = 0, None, None, [], [], []
        self.heads(authorities)

    @contextlib.contextmanager
    def trying(self, what, entry=None):
        try:
            yield
        except Exception as error:  # Hostile bytes make things fail in many ways, and each is a problem.
            self.problems.append((self.number, entry, f"{what}: {error or type(error).__name__}"))

    def heads(self, authorities):
        with self.trying("the certificate"):
            data = read(self.folder, "certificate", NOTE_MAX)
            note, self.sha256 = parse_note(data), hashlib.sha256(data).hexdigest()
            self.origin, key, time, number, previous, *_ = re.fullmatch(CERTIFICATE, note[0]).groups()
            self.key, self.previous = parse_key(key), None if previous == "none" else parse_head(previous)
            must(is_signed(*note, authorities), "no trusted authority signed it")
            must((int(number), self.key[0]) == (self.number, self.origin), "it is another log's")
            must(self.origin.endswith("/" + self.id) and (self.previous is None) == (self.number == 1), "another log's")
            self.time = seconds(time)
        with self.trying("the checkpoint"):
            if (data := read(self.folder, "checkpoint", NOTE_MAX)) is not None:
                origin, self.size, self.root = parse_head(parse_note(data)[0][:-1])
                must(not self.key or origin == self.origin and is_signed(*parse_note(data), [self.key]), "another's")

    def take(self, entries):
        for at, data in enumerate(entries, len(self.leaves)):
            self.leaves.append(sha256(b"\0", data))
            with self.trying("the entry", at):
                operation, detail, time = parse_entry(data)
                self.closes += [at] * (operation == "close")
                self.prunes += [(self, at, detail, time)] * (operation == "prune")
                must((operation == "start") == (at == 0), "`start` is the first of a log, and no other is")
                must(at or self.sha256 in (None, detail.get("certificate")), "`start` names another certificate")

    def body(self):
        index = 0
        while (data := full_bundle(self.folder, index)) is not None:
            entries, rest = unpack(data)
            self.take(entries)
            must(len(entries) == 256 and not rest, f"bundle {index} has {len(entries)} entries and {rest} bytes more")
            index += 1
        tail, width = unpack(read(self.folder, "tail", BUNDLE_MAX) or b"")[0], self.size - 256 * index
        part, rest = unpack(0 < width < 256 and read(self.folder, path_of("entries", index, width), BUNDLE_MAX) or b"")
        self.take(max(part, tail, key=len))
        must(not rest and len(part) <= max(width, 0) and part[:len(tail)] == tail[:len(part)], "a partial one differs")
        names = [os.path.join(at, name) for at, _, names in os.walk(f"{self.folder}/tile/entries") for name in names]
        full = {re.sub(r"\.gz$", "", name) for name in names if re.search(r"(?<!\.p)/\d{3}(\.gz)?$", name)}
        must(len(full) == index, f"bundle {index} is not there, and later ones are")

    def tiles(self):  # The tiles of hashes that the checkpoint needs, against the entries.
        level, number = self.leaves[:self.size], 0
        while level:
            for at in range(0, len(level), 256):
                mine, data = level[at:at + 256], b""
                with self.trying("a tile of hashes", at * 256 ** number):
                    for width in {256, len(mine)}:
                        data = read(self.folder, path_of(number, at // 256, width), 8192) or data
                wrong = [at + n for n, hash in enumerate(mine) if data[32 * n:32 * n + 32] != hash][:3]
                self.problems += [(self.number, n * 256 ** number, f"not as in tile level {number}") for n in wrong]
            level, number = [merkle(level[n:n + 256]) for n in range(0, len(level) - 255, 256)], number + 1

    def judge(self, found, kept, held):  # Against what was signed, found by the next log, and kept outside.
        count, signed = len(self.leaves), (None, self.size, self.root or base64.b64encode(sha256()).decode())
        for at, size, root in [signed] + [(at, *it[1:]) for at, of in ((self.size, found), (None, kept)) for it in of]:
            with self.trying(f"{size} entries were there once", at if size <= count else count):
                must(size <= count and base64.b64decode(root) == merkle(self.leaves[:size]), f"here are {count}")
        end = min([found[0][1] if found else count if self.root or count < 2 else 1] + [at + 1 for at in self.closes])
        with self.trying("the end of the log", end):
            must(self.size <= end == count, "there are entries after it")
        return "clean" if self.closes == [self.size - 1] and self.size == count else "open" if held else "unclean end"

def is_held(folder):
    try:
        fcntl.flock(open(os.path.join(folder, "lock"), "rb"), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)

def verify(folder, authorities, kept, least):
    problems, words, prunes = [], {"clean"}, {}
    names = sorted(os.listdir(folder), key=lambda name: (len(name.split("-")[0]), name))
    logs = [Log(folder, name, problems, authorities) for name in names if re.fullmatch(r"\d{6,}-[\w.-]+", name)]
    must(logs or kept, "there is no audit log in this folder")
    origins = [log.origin for log in logs]
    problems += [(None, None, f"{head[0]} was kept, and is not here") for head in kept if head[0] not in origins]
    odd = [min(at + 1, log.number) for at, log in enumerate(logs) if log.number != at + 1]
    problems += [(number, None, "a log is left out here, or there twice") for number in odd[:1]]
    prefixes = collections.Counter(origin.rpartition("/")[0] for origin in origins if origin).most_common(1)
    for log, after in zip(reversed(logs), [None, *reversed(logs)]):
        found = [after.previous] if after and after.previous and after.previous[0] == log.origin else []
        heads, (by, at, gone, time) = [(log.origin, log.size, log.root), *found], prunes.pop(log.number, [log, 0, 0, 0])
        with log.trying("the chain"):
            must(log.origin is None or log.origin.rpartition("/")[0] == prefixes[0][0], "it is another sidecar's")
            must(found or not after or not after.previous or not log.origin, "the next log names another before it")
        for part in () if gone else (log.body, log.tiles):
            with log.trying("the entries", len(log.leaves)):
                part()
        if not gone:
            words.add(log.judge(found, [head for head in kept if head[0] == log.origin], not after and is_held(folder)))
            log.leaves.clear()
        else:
            with by.trying(f"log {log.number} was pruned otherwise, or early", at):
                must(tuple(map(gone.get, ("origin", "size", "root"))) in heads, "another origin, size or root")
                ended, keep = max(log.time, after.time), 0 | gone["retention_s"]
                must(ended == seconds(gone["ended"]) and least <= keep <= time - ended, "too early")
        prunes.update((it[2].get("number"), it) for it in log.prunes[::-1] if it[1] < max(size for _, size, _ in heads))
    return "tampered" if problems else max(words, key=["clean", "open", "unclean end"].index), problems

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--authority", help="the keys of the authorities; else the folder's own, which proves less")
    parser.add_argument("--checkpoint", action="append", default=[], help="one that was kept: the log must contain it")
    parser.add_argument("--retention-min", default="0s", help="for how many seconds each log had to be kept: 86400s")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on an unclean end too")
    given = parser.parse_args()
    try:
        keys = open(given.authority or os.path.join(given.folder, "authorities"))
        authorities = [parse_key(line.strip()) for line in keys if line.strip() and line[0] != "#"]
        kept = [parse_head(parse_note(open(path, "rb").read())[0][:-1]) for path in given.checkpoint]
        verdict, problems = verify(given.folder, authorities, kept, int(given.retention_min.rstrip("s")))
    except (OSError, ValueError) as error:
        sys.exit(print(f"cannot verify {given.folder}: {error}", file=sys.stderr) or 2)
    print(verdict, *(f"log {log}, entry {entry}: {what!r}" for log, entry, what in problems), sep="\n")
    sys.exit(verdict == "tampered" or given.strict and verdict == "unclean end")
