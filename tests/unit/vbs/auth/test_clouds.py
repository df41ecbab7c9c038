"""Tests of ``OS_CLOUD``: clouds of ``clouds.yaml``, compared with what openstacksdk makes of them."""
# ruff: noqa: E501 - a row of a table is a line

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from handler.bootstrap import parts
from handler.errors import SettingsError
from handler.redaction import redacted
from handler.settings import load_settings
from handler.vbs.auth.account import Account
from handler.vbs.auth.choose import select_sign_in
from handler.vbs.auth.cloud_files import LARGEST, search_path
from handler.vbs.auth.clouds import PROFILES
from tests.oracle import imported, sent_by_openstack, sent_by_us

PASSWORD = "hunter2-of-the-file"

PLAIN = """
clouds:
  production:
    auth:
      auth_url: https://keystone.example.com:5000/v3
      username: backup
      password: hunter2-of-the-file
      project_name: production
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    interface: internal
    identity_api_version: 3
"""
CREDENTIAL = """
clouds:
  production:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example.com:5000
      application_credential_id: 21dced0fd20347869b93710d2b98aae0
      application_credential_secret: hunter2-of-the-file
    regions: [RegionOne, RegionTwo]
"""

FILES: Mapping[str, Mapping[str, str]] = {
    "plain": {"clouds.yaml": PLAIN},
    "json": {"clouds.json": '{"clouds": {"production": {"auth": {"auth_url": "https://h/v3", "username": "u", '
             '"password": "p", "project_id": "p1", "user_domain_id": 7}}}}'},
    "application credential": {"clouds.yaml": CREDENTIAL},
    "application credential by name": {"clouds.yaml": """
clouds: {production: {auth_type: v3applicationcredential, auth: {auth_url: https://h/v3,
  application_credential_name: backup, application_credential_secret: hunter2, username: u, user_domain_id: d}}}"""},
    "secure.yaml": {"clouds.yaml": PLAIN.replace("hunter2-of-the-file", "another"), "secure.yaml": """
clouds:
  production:
    auth:
      password: hunter2-of-the-file
  other: {auth: {password: x}}
"""},
    "a password in secure.yaml only": {
        "clouds.yaml": PLAIN.replace("      password: hunter2-of-the-file\n", ""),
        "secure.yml": "clouds: {production: {auth: {password: hunter2}}}",
    },
    "anchors and merges": {"clouds.yaml": """
common: &common
  auth_url: https://h/v3
  user_domain_name: acme
  username: u
clouds:
  production:
    auth: {<<: *common, password: hunter2, project_id: p1}
  other:
    auth: {<<: *common, password: x, project_id: p2}
"""},
    "keys beside auth": {"clouds.yaml": """
clouds: {production: {auth_url: https://h/v3, username: u, password: hunter2, project_name: p,
  user_domain_name: a, project_domain_name: b}}"""},
    "keys beside auth and within": {"clouds.yaml": """
clouds: {production: {username: beside, project_name: beside, user_domain_name: beside,
  auth: {auth_url: https://h/v3, username: within, password: hunter2, project_name: within,
  user_domain_name: within, project_domain_name: b}}}"""},
    "dashes": {"clouds.yaml": """
clouds: {production: {region-name: R, auth: {auth-url: https://h/v3, username: u, password: hunter2,
  project-name: p, user-domain-name: a, project-domain-name: b}}}""".replace("auth-url", "auth_url")},
    "tenants": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, username: u, password: hunter2, tenant_name: t,
  user_domain_name: a, project_domain_name: b}}}"""},
    "a tenant and a project": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, username: u, password: hunter2, tenant_name: t,
  project_name: p, user_domain_name: a, project_domain_name: b}}}"""},
    "a domain for both": {"clouds.yaml": """
clouds: {production: {domain_name: acme, auth: {auth_url: https://h/v3, username: u, password: hunter2,
  project_name: p}}}"""},
    "the domain itself": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, username: u, password: hunter2, user_domain_name: acme,
  domain_name: acme}}}"""},
    "the domain itself, beside auth": {"clouds.yaml": """
clouds: {production: {domain_id: d1, auth: {auth_url: https://h/v3, username: u, password: hunter2,
  user_domain_name: acme}}}"""},
    "the system": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, username: u, password: hunter2, user_domain_name: acme,
  system_scope: all}}}"""},
    "a token": {"clouds.yaml": """
clouds: {production: {auth_type: v3token, auth: {auth_url: https://h/v3, token: hunter2, project_id: p1}}}"""},
    "a token beside auth": {"clouds.yaml": """
clouds: {production: {auth_type: token, auth_token: hunter2, auth: {auth_url: https://h/v3,
  project_id: p1}}}"""},
    "a user's older name": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, user_name: u, password: hunter2, project_id: p1,
  user_domain_id: default}}}"""},
    "the profile otc": {"clouds.yaml": """
clouds: {production: {profile: otc, auth: {username: u, password: hunter2, project_name: eu-de_x,
  user_domain_name: OTC-EU-DE-00000000001000012345, project_domain_name: OTC-EU-DE-00000000001000012345}}}"""},
    "the profile otc by its older key": {"clouds.yaml": """
clouds: {production: {cloud: otc, region_name: eu-nl, auth: {username: u, password: hunter2, project_id: p1,
  user_domain_name: OTC-EU-DE-00000000001000012345}}}"""},
    "a profile of clouds-public.yaml": {
        "clouds.yaml": """
clouds: {production: {profile: ours, auth: {username: u, password: hunter2, project_id: p1}}}""",
        "clouds-public.yaml": """
public-clouds:
  ours: {auth: {auth_url: "https://{region_name}.example.com/v3", user_domain_name: acme, username: x},
    regions: [r1, r2]}""",
    },
    "values of a region": {"clouds.yaml": """
clouds:
  production:
    auth: {auth_url: https://h/v3, username: u, password: hunter2, user_domain_name: a}
    regions:
    - name: r1
      values: {auth: {auth_url: https://r1.example.com/v3, project_id: p1}}
    - r2
"""},
    "regions with commas": {"clouds.yaml": """
clouds: {production: {region_name: "r1,r2", auth: {auth_url: "https://{region_name}.example.com/v3",
  username: u, password: hunter2, project_id: p1, user_domain_id: d}}}"""},
    "letters beyond ascii": {"clouds.yaml": """
clouds: {production: {auth: {auth_url: https://h/v3, username: bäckup, password: pässwörd, project_id: p1,
  user_domain_name: ä}}}"""},
}  # fmt: skip
"""Files of one folder, in each of which ``production`` can sign in."""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a folder."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search no folder of the machine but the working folder, which is empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "shared"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("OS_CLOUD", "production")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def accounts() -> tuple[Account, ...]:
    """Return the accounts of the environment."""
    return select_sign_in(load_settings(_env_file=None)).accounts


def refusal() -> str:
    """Return the error of an environment that cannot sign in."""
    with pytest.raises(SettingsError) as caught:
        accounts()
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_cloud_signs_in_as_with_openstacks_own_tools(name: str) -> None:
    """The token request has the same URL and body as that of openstacksdk, which reads the same files."""
    write(Path.cwd(), FILES[name])

    assert sent_by_openstack("production", Path.cwd()) == sent_by_us()


def test_an_account_has_all_that_a_client_of_its_cloud_needs(tmp_path: Path) -> None:
    """Region, interface, PEM files and endpoints of the cloud are part of its account."""
    for name in ("ca.pem", "c.pem", "c.key"):
        (tmp_path / name).write_text("x")
    (Path.cwd() / "clouds.yaml").write_text(
        f"{PLAIN}    cacert: {tmp_path}/ca.pem\n    cert: {tmp_path}/c.pem\n    key: {tmp_path}/c.key\n"
        "    volumev3_endpoint_override: https://volume.example.com/v3\n    verify: true\n"
    )
    [account] = accounts()

    assert ("production", "RegionOne", "internal") == (account.name, account.region, account.interface)
    assert (("volumev3", "https://volume.example.com/v3"),) == account.overrides
    assert [tmp_path / "ca.pem"] == [path for _, path in account.tls.authorities]
    assert account.tls.certificate is not None
    assert account.tls.key is not None
    assert (tmp_path / "c.pem", tmp_path / "c.key") == (account.tls.certificate[1], account.tls.key[1])


def test_several_names_are_several_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name of ``OS_CLOUD`` is resolved by itself, in their order."""
    write(
        Path.cwd(),
        {"clouds.yaml": PLAIN + CREDENTIAL.replace("production", "east").partition("clouds:\n")[2]},
    )
    monkeypatch.setenv("OS_CLOUD", "east, production")

    assert ["east", "production"] == [account.name for account in accounts()]
    assert [True, False] == [account.bound for account in accounts()]


def test_the_project_of_a_cloud_is_the_programs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal in it concerns the sign-in as a whole, though no variable names the project."""
    write(Path.cwd(), FILES["json"])
    monkeypatch.setenv("VBS_ENDPOINT", "https://h")
    monkeypatch.setenv("LEDGER_URL", "none")

    async def own() -> str | None:
        async with parts(load_settings(_env_file=None)) as opened:
            return opened.home

    assert "p1" == asyncio.run(own())


def test_the_environment_chooses_region_and_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """``OS_REGION_NAME`` and ``OS_INTERFACE`` go before the file; the other variables do not."""
    write(Path.cwd(), {"clouds.yaml": CREDENTIAL})
    monkeypatch.setenv("OS_REGION_NAME", "RegionTwo")
    monkeypatch.setenv("OS_INTERFACE", "adminURL")
    monkeypatch.setenv("OS_USERNAME", "another")
    [account] = accounts()

    assert ("RegionTwo", "admin") == (account.region, account.interface)
    assert "another" not in repr(account)


def test_each_value_says_where_it_is_from_and_secrets_say_nothing_else() -> None:
    """An account knows the file of each of its values, and shows its secrets nowhere."""
    write(Path.cwd(), FILES["secure.yaml"])
    [account] = accounts()
    found = {origin.key: origin for origin in account.origins}

    assert ("backup", str(Path.cwd() / "clouds.yaml")) == found["username"][1:]
    assert ("", str(Path.cwd() / "secure.yaml")) == found["password"][1:]
    assert PASSWORD not in repr(account)
    assert "***" == redacted(PASSWORD)


@pytest.mark.parametrize(
    "number", ["0123", "1.10", "1e5", "yes", "2026-03-04", "0x1F", "1_000", "on", "12:30"]
)
def test_a_password_that_looks_like_something_else_stays_as_it_is_written(number: str) -> None:
    """YAML would make another text of such a password, and Keystone would refuse that."""
    write(Path.cwd(), {"clouds.yaml": PLAIN.replace(PASSWORD, number)})

    assert number == sent_by_us().body["auth"]["identity"]["password"]["user"]["password"]


BOMB = "\n".join(
    ["clouds:", "  x0: &x0 {auth_url: a, username: b, password: c}"]
    + [f"  x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    + ["  production: {auth: *x0, regions: *x8}"]
)
MERGES = "\n".join(
    ["x0: &x0 {" + ", ".join(f"k{n}: v" for n in range(10)) + "}"]
    + [f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    + ["clouds: {production: *x8}"]
)

HOSTILE: Mapping[str, tuple[str | bytes, str]] = {
    "empty": ("", "has no mapping of clouds under the key clouds"),
    "a list": ("- production\n", "has no mapping of clouds under the key clouds"),
    "clouds are a list": ("clouds: [production]\n", "has no mapping of clouds under the key clouds"),
    "no clouds": (PLAIN.replace("clouds:", "cloud:"), "has no mapping of clouds under the key clouds"),
    "another cloud": (PLAIN.replace("production:", "east:"), "has no cloud of that name; it has east"),
    "the cloud is a text": ("clouds: {production: hunter2-of-the-file}", "is not a mapping of keys"),
    "auth is a text": ("clouds: {production: {auth: hunter2-of-the-file}}", "auth: must be a mapping"),
    "auth is a list": ("clouds: {production: {auth: [hunter2-of-the-file]}}", "auth: must be a mapping"),
    "a password is a list": (PLAIN.replace(PASSWORD, f"[{PASSWORD}]"), "password: must be one text"),
    "a password is a mapping": (PLAIN.replace(PASSWORD, f"{{a: {PASSWORD}}}"), "password: must be one text"),
    "a password of two lines": (PLAIN.replace(PASSWORD, f'"{PASSWORD}\\n"'), "password: must be one line"),
    "a password in the URL": (
        PLAIN.replace("https://", f"https://u:{PASSWORD}@"), "auth_url: has an @: user and password belong",
    ),
    "a password without a colon": (PLAIN.replace("password: ", "password "), "is not YAML near line 8"),
    "a password as the type": (f"{PLAIN}    auth_type: {PASSWORD}\n", "auth_type: is not a sign-in"),
    "a password as the profile": (f"{PLAIN}    profile: {PASSWORD}\n", "profile: is in no clouds-public.yaml"),
    "a password as the interface": (PLAIN.replace("internal", PASSWORD), "interface: must be public, internal"),
    "no password": (PLAIN.replace(f"password: {PASSWORD}", ""), "password: needed to sign in by password"),
    "an empty password": (PLAIN.replace(PASSWORD, ""), "password: needed to sign in by password"),
    "no project": (PLAIN.replace("project_name: production", ""), "project_id or project_name: needed"),
    "a profile that is fetched": (f"{PLAIN}    profile: https://vexxhost.com\n", "profile: is in no clouds-pub"),
    "unchecked": (f"{PLAIN}    verify: false\n", "verify: would switch off the check of the server's certificate"),
    "unchecked, no": (f"{PLAIN}    verify: no\n", "verify: would switch off the check"),
    "insecure": (f"{PLAIN}    insecure: true\n", "insecure: would switch off the check of the server's certifi"),
    "version 2": (PLAIN.replace("version: 3", "version: 2.0"), "identity_api_version: must be 3"),
    "the URL of version 2": (PLAIN.replace("/v3", "/v2.0"), "auth_url: is of version 2"),
    "plain http": (PLAIN.replace("https", "http"), "must be https, since credentials are sent there"),
    "no file of an authority": (f"{PLAIN}    cacert: /nonexistent/ca.pem\n", "cacert: /nonexistent/ca.pem does not"),
    "a key alone": (f"{PLAIN}    key: /etc/hostname\n", "cert: needed by the key beside it"),
    "regions are a mapping": (f"{PLAIN}    regions: {{a: b}}\n", "regions: must be a list of names"),
    "regions of numbers": (f"{PLAIN}    regions: [[a]]\n", "regions: each must be a name"),
    "tabs": (PLAIN.replace("      ", "\t"), "is not YAML near line 5"),
    "not UTF-8": (PLAIN.encode().replace(b"backup", b"b\xe4ckup"), "is not UTF-8; save it as such"),
    "UTF-16": (PLAIN.encode("utf-16"), "is not UTF-8; save it as such"),
    "a control character": (PLAIN.replace("backup", "back\x00up"), "a character that YAML does not allow"),
    "huge": (f"{PLAIN}#{'x' * LARGEST}", "is larger than 256 KiB"),
    "deep": ("clouds: {production: " + "[" * 20_000, "is nested too deeply"),
    "an object": (PLAIN.replace(PASSWORD, "!!python/object/apply:os.system [id]"), "is not YAML near line 7"),
    "two documents": (f"{PLAIN}---\n{PLAIN}", "is not YAML near line"),
    "an unknown anchor": (PLAIN.replace(PASSWORD, "*secret"), "is not YAML near line 7"),
    "a bomb of aliases": (BOMB, "regions: each must be a name"),
    "a bomb of merges": (MERGES, "OS_CLOUD: "),  # PyYAML 6.0.4 itself merges each key once
}  # fmt: skip
"""Contents of ``clouds.yaml`` that cannot be used, and a part of what is said of each."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_used_is_refused_in_one_clear_line(name: str) -> None:
    """The line names the file, and the key or the line in it, and shows no secret; it comes within seconds."""
    content, says = HOSTILE[name]
    (Path.cwd() / "clouds.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    text = refusal()

    assert says in text
    assert text.startswith("OS_CLOUD: ")
    assert str(Path.cwd() / "clouds.yaml") in text
    assert PASSWORD not in text
    assert "\n" not in text
    assert time.process_time() - began < 20


def test_a_secure_file_of_another_form_is_refused() -> None:
    """A secret that is not below its cloud would silently not be used."""
    write(Path.cwd(), {"clouds.yaml": PLAIN, "secure.yaml": f"auth: {{password: {PASSWORD}}}"})

    assert "secure.yaml: has no mapping of clouds under the key clouds" in refusal()


def test_a_file_that_every_user_may_write_is_refused() -> None:
    """Whoever may write the file could have the password sent to another server."""
    write(Path.cwd(), {"clouds.yaml": PLAIN})
    (Path.cwd() / "clouds.yaml").chmod(0o646)

    assert "every user may write it, and so the sign-in; run: chmod o-w" in refusal()


def test_a_region_that_the_cloud_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the regions that there are."""
    write(Path.cwd(), {"clouds.yaml": CREDENTIAL})
    monkeypatch.setenv("OS_REGION_NAME", "RegionThree")

    assert refusal().startswith("OS_REGION_NAME: is no region of production in ")
    assert "which has RegionOne, RegionTwo" in refusal()


def test_without_a_file_the_error_names_the_folders() -> None:
    """The error says where a file was looked for, and which variable names one."""
    assert refusal().startswith("OS_CLOUD: there is no clouds.yaml that this user can read in ")
    assert "/etc/openstack" in refusal()


def test_the_folders_are_those_of_openstacksdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search path is the same, in the same order; openstacksdk is asked in a process of its own."""
    imported("openstack.config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    code = "from openstack.config import loader; print(*dict.fromkeys(loader.CONFIG_SEARCH_PATH), sep='\\n')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)

    assert done.stdout.split() == [*map(str, search_path())]


@pytest.mark.parametrize("place", ["work", "home/.config/openstack", "shared/openstack"])
def test_a_file_is_found_in_each_folder(place: str, tmp_path: Path) -> None:
    """The working folder, the user's and the shared one are searched."""
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    write(tmp_path / place, {"clouds.yaml": PLAIN})

    assert [str(tmp_path / place / "clouds.yaml")] == [*{each.source for each in accounts()[0].origins}]


def test_variables_name_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OS_CLIENT_CONFIG_FILE`` and ``OS_CLIENT_SECURE_FILE`` go before the search path."""
    write(tmp_path, {"mine.yaml": PLAIN, "secret.yaml": "clouds: {production: {auth: {password: other}}}"})
    write(Path.cwd(), {"clouds.yaml": "clouds: {}"})
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "mine.yaml"))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(tmp_path / "secret.yaml"))

    assert "other" == accounts()[0].identity.secret


def test_the_built_in_profiles_are_those_of_openstacksdk() -> None:
    """Each has the URL and regions of openstacksdk's, whose otc-swiss lacks its https://."""
    vendors = imported("openstack.config.vendors")
    for name, profile in PROFILES.items():
        theirs = vendors.get_profile(name)
        url = profile["auth"]["auth_url"]
        assert theirs["auth"]["auth_url"].removeprefix("https://") == url.removeprefix("https://")
        assert [theirs.get(key) for key in ("regions", "region_name")] == [
            profile.get(key) for key in ("regions", "region_name")
        ]


def test_without_the_extra_the_error_names_it() -> None:
    """A YAML file without PyYAML ends in one line that says what to install; JSON needs nothing."""
    write(Path.cwd(), {"clouds.yaml": PLAIN})
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from handler.settings import load_settings\n"
        "from handler.vbs.auth.choose import select_sign_in\n"
        "from handler.errors import SnapshotBackupError\n"
        "try: print(select_sign_in(load_settings()).accounts[0].name)\n"
        "except SnapshotBackupError as error: print(error)\n"
    )
    root = str(Path(__file__).parents[4])
    env = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", program]
    without = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.strip()
    assert (
        "the package yaml is not installed; install the extra: pip install 'snapshot-backup[clouds]'"
        == without
    )

    (Path.cwd() / "clouds.yaml").unlink()
    write(Path.cwd(), FILES["json"])
    assert (
        "production\n" == subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    )


def test_the_bombs_are_bombs_and_the_plain_file_is_yaml() -> None:
    """The hostile files are what they seem: PyYAML itself reads the one, and would never end with the other."""
    assert yaml.safe_load(PLAIN)["clouds"]["production"]["region_name"] == "RegionOne"
    assert yaml.safe_load(BOMB)["clouds"]["x8"]
