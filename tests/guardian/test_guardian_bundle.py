import pytest
from guardian_faces import FILES, HOME, Tool, catalog, obj, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.guardian.bundle import BUILTIN, FILE_BYTES_MAX, FILES_MAX, PROTECTED_MAX, STARTER, Bundle, Layer, layer_of
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import parse

CATALOG = digest(b"c")
NAMES = st.from_regex(r"\A(overlays/)?[a-z][a-z0-9_-]{0,8}\.cedar\Z").filter(lambda name: not name.endswith("builtin.cedar"))


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.text(alphabet="ab\n", max_size=9).map(str.encode), max_size=4), st.randoms())
def test_the_digest_commits_to_files_catalogue_and_directories_and_not_to_their_order(files: dict[str, bytes], random) -> None:
    bundle = Bundle.of(files, CATALOG, ["/a/b", "/c"])
    shuffled = list(files.items())
    random.shuffle(shuffled)
    assert Bundle.of(dict(shuffled), CATALOG, ["/c", "/a/b", "/c"]) == bundle
    others = [
        Bundle.of({**files, "zz.cedar": b"// one more"}, CATALOG, ["/a/b", "/c"]),
        Bundle.of({name: content + b" " for name, content in files.items()} or {"a.cedar": b""}, CATALOG, ["/a/b", "/c"]),
        Bundle.of(files, digest(b"d"), ["/a/b", "/c"]),
        Bundle.of(files, CATALOG, ["/a/b"]),
    ]
    assert len({bundle.digest, *(other.digest for other in others)}) == 5


def test_the_manifest_is_what_the_digest_names_and_lists_the_builtin_rules() -> None:
    bundle = Bundle.of({"main.cedar": b"// x"}, CATALOG, ["/b", "/a"])
    assert digest(bundle.manifest) == bundle.digest
    assert parse(bundle.manifest) == {
        "v": 1,
        "catalog": CATALOG,
        "files": {"builtin.cedar": digest(BUILTIN), "main.cedar": digest(b"// x")},
        "protected": ["/a", "/b"],
    }
    assert Bundle.from_bytes(bundle.to_bytes(), bundle.files) == bundle
    assert Bundle.of(bundle.files, CATALOG, bundle.protected) == bundle


@pytest.mark.parametrize(
    ("manifest", "files", "finding"),
    [
        (lambda m: m + b"\n", {"main.cedar": b"x"}, Finding.MANIFEST_MISMATCH),
        (lambda m: m, {"main.cedar": b"y"}, Finding.MANIFEST_MISMATCH),
        (lambda m: m, {}, Finding.MANIFEST_MISMATCH),
        (lambda m: m, {"main.cedar": b"x", "more.cedar": b""}, Finding.MANIFEST_MISMATCH),
        (lambda m: m, {"main.cedar": b"x", "builtin.cedar": b""}, Finding.MANIFEST_MISMATCH),
        (lambda m: m.replace(b'"/a"', b'"a"'), {"main.cedar": b"x"}, Finding.MANIFEST_MISMATCH),
        (lambda m: m.replace(b'"v":1', b'"v":2'), {"main.cedar": b"x"}, Finding.UNSUPPORTED),
        (lambda m: m.replace(b'"v":1', b'"v":1,"w":1'), {"main.cedar": b"x"}, Finding.PACK_MALFORMED),
        (lambda m: m[:-1], {"main.cedar": b"x"}, Finding.PACK_MALFORMED),
    ],
)
def test_a_kept_bundle_that_is_not_what_its_manifest_says_is_no_evidence(
    manifest, files: dict[str, bytes], finding: Finding
) -> None:
    kept = Bundle.of({"main.cedar": b"x"}, CATALOG, ["/a"]).manifest
    with pytest.raises(EvidenceError) as error:
        Bundle.from_bytes(manifest(kept), files)
    assert error.value.finding is finding


@pytest.mark.parametrize(
    ("files", "sub"),
    [
        ({"builtin.cedar": b""}, "files"),
        ({"builtin.cedar": BUILTIN + b" "}, "files"),
        ({"overlays/builtin.cedar": BUILTIN}, "files"),
        ({"Ceiling.cedar": b""}, "files"),
        ({"CEILING.CEDAR": b""}, "files"),
        ({"tests/a.cedar": b""}, "files"),
        ({"overlays/a/b.cedar": b""}, "files"),
        ({"../main.cedar": b""}, "files"),
        ({"/main.cedar": b""}, "files"),
        ({".cedar": b""}, "files"),
        ({"main.cedar\n": b""}, "files"),
        ({"main.txt": b""}, "files"),
        ({"m\u0430in.cedar": b""}, "files"),
        ({"main.cedar": b"\xef\xbb\xbf"}, "encoding"),
        ({"main.cedar": b"// \xff"}, "encoding"),
        ({"main.cedar": b"// \0"}, "encoding"),
        ({"main.cedar": b" " * (FILE_BYTES_MAX + 1)}, "size"),
        ({f"a{n}.cedar": b"" for n in range(FILES_MAX)}, "size"),
        ({f"a{n}.cedar": b" " * FILE_BYTES_MAX for n in range(5)}, "size"),
    ],
)
def test_a_file_that_no_bundle_has_is_refused(files: dict[str, bytes], sub: str) -> None:
    with pytest.raises(Refused) as refused:
        Bundle.of(files, CATALOG, [])
    assert (refused.value.reason, refused.value.sub) == (Reason.ERR_POLICY_ERROR, sub)


@pytest.mark.parametrize("path", ["", "/", "a", "~/a", "/a/", "/a//b", "/a/./b", "/a/../b", "/a\0", "//a", "/" + "a" * 5000])
def test_a_protected_directory_is_absolute_and_normal(path: str) -> None:
    with pytest.raises(Refused, match="not an absolute"):
        Bundle.of({}, CATALOG, [path])


def test_more_protected_directories_than_the_bound_are_refused() -> None:
    with pytest.raises(Refused, match="protected directories"):
        Bundle.of({}, CATALOG, [f"/{n}" for n in range(PROTECTED_MAX + 1)])


def test_the_place_of_a_file_is_its_layer() -> None:
    assert layer_of("builtin.cedar") is Layer.BUILTIN
    assert layer_of("ceiling.cedar") is Layer.CEILING
    assert layer_of("main.cedar") is Layer.BASE
    assert layer_of("overlays/ceiling.cedar") is Layer.OVERLAY


def test_the_starter_policy_holds_against_any_catalogue_and_has_no_rule() -> None:
    made = Policy.from_files({"main.cedar": STARTER}, FILES, [HOME])
    assert set(made.rules) == {"helm-kernel-directories", "helm-destructive-needs-approval"}


def test_the_examples_in_the_starter_policy_are_rules() -> None:
    lines = [line.removeprefix("//").strip() for line in STARTER.decode().splitlines() if line.startswith("//   ")]
    text = "\n".join(lines)
    assert text.count("@id(") == text.count(";") == 4
    tools = catalog(
        Tool("time/get_current_time", Effect.READ, obj({})),
        Tool("time/convert_time", Effect.READ, obj({"source_timezone": {"type": "string"}}, ["source_timezone"])),
        Tool("files/read", Effect.READ, obj({})),
        Tool("mail/send", Effect.WRITE, obj({})),
    )
    assert len(policy(text, tools).rules) == 6
