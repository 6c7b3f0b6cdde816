#!/usr/bin/env python3
"""Checks a folder of C2SP tlog-tiles, and a tlog-proof, by the specifications alone: shares no code with LamChat.

    tiles.py FOLDER [PROOF]

Computes the root by RFC 6962's definition from the entry bundles, and again from the hash tiles; compares both with the
checkpoint, and the files with those that a tree of this size must have, and no others. Prints origin and size. Signatures
are not checked.
"""

import base64
import hashlib
import pathlib
import sys


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def mth(hashes):
    """MTH of RFC 6962, section 2.1, over hashes of leaves."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256().digest()
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\1" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def name(level, index, width):
    digits = "%d" % index
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
    number = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return "tile/%s/%s" % (level, number) + ("" if width == 256 else ".p/%d" % width)


def widths(count):
    return [256] * (count // 256) + ([count % 256] if count % 256 else [])


def checkpoint(text):
    lines = text.split("\n")
    assert lines[3] == "" and lines[4].startswith("\u2014 " + lines[0] + " "), "the checkpoint is no signed note"
    return lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)


def entries_of(folder, size):
    entries = []
    for index, width in enumerate(widths(size)):
        data = (folder / name("entries", index, width)).read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + length, "a bundle ends too early"
            entries.append(data[2:2 + length])
            data = data[2 + length:]
        assert not data, "a bundle is too long"
    return entries


def hashes_of(folder, size):
    """Reads every hash tile; checks each level against the full tiles below. Answers level 0."""
    expected, level, lowest = None, 0, []
    while size:
        found = []
        for index, width in enumerate(widths(size)):
            data = (folder / name(level, index, width)).read_bytes()
            assert len(data) == 32 * width, "a tile has another width than its name says"
            found += [data[at:at + 32] for at in range(0, len(data), 32)]
        assert expected is None or found == expected, "a tile is not the hash of the one below"
        lowest = lowest or found
        expected = [mth(found[at:at + 256]) for at in range(0, len(found) // 256 * 256, 256)]
        level, size = level + 1, size // 256
    return lowest


def files_of(size):
    names = {"checkpoint"} | {name("entries", *tile) for tile in enumerate(widths(size))}
    level = 0
    while size:
        names |= {name(level, *tile) for tile in enumerate(widths(size))}
        level, size = level + 1, size // 256
    return names


def included(index, size, hash_, path):
    """The root that the path of RFC 6962, section 2.1.1, leads to, by its recursion."""
    if size == 1:
        assert not path, "the proof is too long"
        return hash_
    k = 1
    while k * 2 < size:
        k *= 2
    *path, sibling = path
    if index < k:
        return hashlib.sha256(b"\1" + included(index, k, hash_, path) + sibling).digest()
    return hashlib.sha256(b"\1" + sibling + included(index - k, size - k, hash_, path)).digest()


def check_proof(text, entries, root):
    proof, note = text.split("\n\n", 1)
    lines = proof.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("extra "), "no tlog-proof"
    entry, index = base64.b64decode(lines[1][6:], validate=True), int(lines[2].removeprefix("index "))
    _, size, signed = checkpoint(note)
    assert entry == entries[index] and size <= len(entries) and signed == mth([leaf(e) for e in entries[:size]])
    path = [base64.b64decode(line, validate=True) for line in lines[3:]]
    assert included(index, size, leaf(entry), path) == signed, "the proof does not lead to the root"


def main():
    folder = pathlib.Path(sys.argv[1])
    origin, size, root = checkpoint((folder / "checkpoint").read_text(encoding="utf-8"))
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert there == files_of(size), "files too many or too few: %s" % (there ^ files_of(size))
    entries = entries_of(folder, size)
    leaves = [leaf(entry) for entry in entries]
    assert hashes_of(folder, size) == leaves, "the tiles are not the hashes of the entries"
    assert mth(leaves) == root, "the entries do not have the root that was signed"
    for file in sys.argv[2:]:
        check_proof(pathlib.Path(file).read_text(encoding="utf-8"), entries, root)
    print(origin, size)


main()
