"""Runs the services of a compose file without Docker, for tools/stack_contract.py.

Each service is a process of this machine's programs, in a network namespace and a root directory of its own. The root directory is an
overlay: this machine's files, which the service cannot change, with the volumes and files of the service. Names, addresses, networks,
volumes, commands, users, capabilities, dependencies and health checks are those of the compose file; a key that is not known here is an
error. An image is replaced by its entry in IMAGES.

Everything here relies on tools/stack_test.sh, which starts Python in new namespaces of mounts, network, processes and IPC: when
Python ends, for whatever reason, the kernel ends all processes and removes all networks, mounts and files.
"""

import dataclasses
import ipaddress
import itertools
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCRATCH = pathlib.Path("/run/stack")  # on a tmpfs of our own
VOLUMES = SCRATCH / "volumes"
CLIENTS = ipaddress.ip_network("10.99.0.0/16")  # addresses of clients, on the way to the networks that are not internal
# Keys of a service that have a meaning for Docker only.
IGNORED = {"build", "image", "ports", "pull_policy", "restart", "stop_grace_period", "healthcheck", "networks", "depends_on", "command", "environment"}
FOLLOWED = {"volumes", "tmpfs", "read_only", "cap_drop", "security_opt", "ulimits"}


@dataclasses.dataclass
class Image:
    """What an image brings along."""

    command: list
    user: int = 0
    variables: dict = dataclasses.field(default_factory=dict)
    directory: str = "/"
    files: dict = dataclasses.field(default_factory=dict)  # path in the container: program of this machine
    stop_signal: int = signal.SIGTERM
    stopped: int = 0  # status after the signal


POSTGRES = """
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""

IMAGES = {
    "vintedbot-ingest": Image(
        ["/usr/local/bin/vintedbot-ingest"],
        user=10001,
        variables={"HOST": "0.0.0.0"},
        directory="/var/lib/vintedbot-ingest",
        files={"/usr/local/bin/vintedbot-ingest": os.environ["STACK_SERVER"]},
    ),
    "caddy": Image(
        ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
        variables={"XDG_CONFIG_HOME": "/config", "XDG_DATA_HOME": "/data"},
    ),
    "postgres": Image(
        ["sh", "-euc", POSTGRES],
        user=999,
        variables={"PGDATA": "/var/lib/postgresql/data", "LD_LIBRARY_PATH": os.environ["STACK_POSTGRES_LIBS"]},
        stop_signal=signal.SIGINT,
    ),
    "dxflrs/garage": Image(["/garage", "server"], files={"/garage": os.environ["STACK_GARAGE"]}),
    "redis": Image(["redis-server"], user=999, directory="/data"),
    "pgbouncer": Image(["pgbouncer", "/etc/pgbouncer/pgbouncer.ini"], user=999, stopped=1),
}


def sh(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(part) for part in command)}: {done.stderr.decode()}")


def mount(kind, source, target, *options):
    target.mkdir(parents=True, exist_ok=True)
    sh("mount", "-t", kind, *options, source, target)


def seconds(duration):
    """Returns the seconds of a duration such as `1m30s`."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", duration))


def interpolate(value, variables):
    """Replaces `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in all texts of a document."""
    if isinstance(value, dict):
        return {key: interpolate(member, variables) for key, member in value.items()}
    if isinstance(value, list):
        return [interpolate(member, variables) for member in value]
    if not isinstance(value, str):
        return value

    def replacement(match):
        if match[0] == "$$":
            return "$"
        found = variables.get(match["name"], "")
        if not found and match["operator"] == "?":
            raise ValueError(f"{match['name']}: {match['rest']}")
        return found or match["rest"] or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?::(?P<operator>[-?])(?P<rest>[^}]*))?\}", replacement, value)


def merge(base, change):
    """Merges a second compose file into a first one as compose does: mappings by key, volumes one after the other, the rest replaced."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif key == "volumes" and key in base:
            base[key] = base[key] + value
        else:
            base[key] = value


class Service:
    def __init__(self, stack, name, document):
        self.stack, self.name, self.document = stack, name, document
        self.image = IMAGES[document["image"].split(":")[0]]
        unknown = document.keys() - IGNORED - FOLLOWED
        if unknown:
            raise ValueError(f"{name}: tools/stack.py does not know {', '.join(unknown)}")
        networks = document["networks"]
        self.networks = {key: (networks[key] or {}) if isinstance(networks, dict) else {} for key in networks}
        self.addresses = {}
        self.process = None
        self.root = SCRATCH / "services" / name / "root"
        self.hosts = self.root.parent / "hosts"
        self.log = SCRATCH / f"{name}.log"
        postgres = os.environ["STACK_POSTGRES"]
        tools = ["redis-server/bin", "redis-cli/bin", "caddy/bin", "pgbouncer/bin"]
        self.variables = {
            # "/opt" is target/tools.
            "PATH": ":".join([postgres, *(f"/opt/{tool}" for tool in tools), "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
            "HOME": "/tmp",
            **self.image.variables,
            **{key: str(value) for key, value in document.get("environment", {}).items()},
        }

    def prepare_files(self):
        """Makes the root directory."""
        upper, work = self.root.parent / "upper", self.root.parent / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        mount("overlay", "overlay", self.root, "-o", f"lowerdir=/,upperdir={upper},workdir={work}")
        mount("proc", "proc", self.root / "proc")
        sh("mount", "--rbind", "/dev", self.root / "dev")
        for directory in ["/dev/shm", "/tmp", *self.document.get("tmpfs", [])]:
            mount("tmpfs", "tmpfs", self.root / directory[1:], "-o", "mode=1777")
        (self.root / "opt").mkdir(exist_ok=True)
        sh("mount", "--bind", "-o", "ro", REPOSITORY / "target/tools", self.root / "opt")
        with (self.root / "etc/passwd").open("a") as passwd:
            passwd.write(f"{self.name}:x:{self.image.user}:{self.image.user}::/tmp:/bin/sh\n")
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        (self.root / "etc/hosts").unlink(missing_ok=True)
        (self.root / "etc/hosts").touch()
        self.bind(self.hosts, "/etc/hosts", "ro")
        for path, program in self.image.files.items():
            self.bind(pathlib.Path(program), path, "ro")
        for volume in self.document.get("volumes", []):
            source, path, *options = volume.split(":")
            if source.startswith("."):
                self.bind((self.stack.directory / source).resolve(), path, *options)
            else:
                (VOLUMES / source).mkdir(parents=True, exist_ok=True)
                if "ro" not in options:
                    os.chown(VOLUMES / source, self.image.user, self.image.user)
                self.bind(VOLUMES / source, path, *options)
        (self.root / self.image.directory[1:]).mkdir(parents=True, exist_ok=True)
        if self.document.get("read_only"):
            sh("mount", "-o", "remount,bind,ro", self.root)

    def bind(self, source, path, *options):
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            source.touch()
            target.touch()
        sh("mount", "--bind", *(["-o", ",".join(options)] if options else []), source, target)

    def inside(self, command):
        """Returns the command that runs `command` in the container."""
        entry = ["nsenter", f"--net=/run/netns/{self.name}", f"--root={self.root}", f"--wd={self.root}{self.image.directory}"]
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        entry += ["prlimit", f"--nofile={min(self.document.get('ulimits', {}).get('nofile', most), most)}"]
        entry += ["setpriv", f"--reuid={self.image.user}", f"--regid={self.image.user}", "--clear-groups"]
        if "no-new-privileges:true" in self.document.get("security_opt", []):
            entry += ["--no-new-privs"]
        if "ALL" in self.document.get("cap_drop", []):
            entry += ["--bounding-set=-all", "--inh-caps=-all"]
        return [*entry, "--", *command]

    def run(self, *command, timeout=30):
        """Runs a program in the container, as `docker compose exec -T`, and returns its output."""
        done = subprocess.run(self.inside(command), env=self.variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {command[0]} ended with {done.returncode}: {(done.stdout + done.stderr).decode()}")
        return done.stdout.decode()

    def start(self):
        """Starts the service after those that it depends on, and waits until it is healthy."""
        if self.process:
            return
        for other in self.document.get("depends_on", {}):
            self.stack[other].start()
        command = self.document.get("command") or self.image.command
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.inside(command), env=self.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.stack.write_hosts()
        check = self.document["healthcheck"]
        kind, *test = check["test"]
        test = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        deadline = time.monotonic() + seconds(check["start_period"]) + check["retries"] * seconds(check["interval"])
        while True:
            try:
                self.run(*test, timeout=seconds(check["timeout"]))
                return
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}") from error
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} is not healthy: {error}") from error
            time.sleep(0.2)

    def stop(self):
        """Stops the service, and fails if it does not end by itself within its grace period or ends with an error."""
        self.process.send_signal(self.image.stop_signal)
        status = self.process.wait(seconds(self.document.get("stop_grace_period", "10s")))
        self.ended()
        if status not in (self.image.stopped, -self.image.stop_signal):
            raise RuntimeError(f"{self.name} ended with {status} when it was stopped")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.ended()

    def ended(self):
        self.process = None
        self.stack.write_hosts()


class Stack:
    def __init__(self, files):
        """Reads compose files and makes their networks and directories. Each further file changes the ones before."""
        SCRATCH.mkdir(parents=True)
        (SCRATCH / "deploy").mkdir()
        # In a copy of its own, because it refuses to write over the secrets of an installation.
        script = SCRATCH / "deploy/secrets.sh"
        script.write_bytes((REPOSITORY / "deploy/secrets.sh").read_bytes())
        sh("sh", script)
        lines = (SCRATCH / "deploy/.env").read_text().splitlines()
        self.settings = {**dict(line.split("=", 1) for line in lines), "SITE_ADDRESS": os.environ["STACK_SITE"]}
        self.directory = files[0].resolve().parent  # of all relative paths, as for compose
        document = {}
        for file in files:
            merge(document, yaml.safe_load(file.read_text()))
        document = interpolate(document, self.settings)
        self.services = {name: Service(self, name, service) for name, service in document["services"].items()}
        self.make_networks(document["networks"])
        self.write_hosts()
        for service in self.services.values():
            service.prepare_files()

    def __getitem__(self, name):
        return self.services[name]

    def make_networks(self, networks):
        self.clients = {}  # free addresses of a network, for clients within it
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "route", "add", "local", CLIENTS, "dev", "lo")
        count = itertools.count()
        for service in self.services:
            sh("ip", "netns", "add", service)
            sh("ip", "-n", service, "link", "set", "lo", "up")
        for number, (network, options) in enumerate(networks.items()):
            options = options or {}
            config = (options.get("ipam") or {}).get("config", [{}])[0]
            subnet = ipaddress.ip_network(config.get("subnet", f"172.31.{number}.0/24"))
            gateway = subnet[1]
            free = iter(ipaddress.ip_network(config.get("ip_range", list(subnet.subnets(1))[1])))
            self.clients[network] = list(subnet.subnets(2))[1]
            sh("ip", "link", "add", network, "type", "bridge")
            sh("ip", "addr", "add", f"{gateway}/{subnet.prefixlen}", "dev", network)
            sh("ip", "link", "set", network, "up")
            sh("ip", "route", "add", "local", self.clients[network], "dev", "lo")
            for service in self.services.values():
                if network not in service.networks:
                    continue
                address = service.networks[network].get("ipv4_address") or next(free)
                service.addresses[network] = str(address)
                here, there = f"v{next(count)}", network
                sh("ip", "link", "add", here, "master", network, "type", "veth", "peer", "name", there, "netns", service.name)
                sh("ip", "link", "set", here, "up")
                sh("ip", "-n", service.name, "addr", "add", f"{address}/{subnet.prefixlen}", "dev", there)
                sh("ip", "-n", service.name, "link", "set", there, "up")
                if not options.get("internal"):
                    sh("ip", "-n", service.name, "route", "add", "default", "via", gateway)

    def write_hosts(self):
        """Tells each service the addresses of those that run and share a network with it: Docker's names vanish with the container."""
        for service in self.services.values():
            lines = ["127.0.0.1 localhost"]
            for other in self.services.values():
                shared = [network for network in service.addresses if network in other.addresses]
                if shared and (other.process or other is service):
                    lines.append(f"{other.addresses[shared[0]]} {other.name}")
            service.hosts.parent.mkdir(parents=True, exist_ok=True)
            service.hosts.write_text("\n".join(lines) + "\n")

    def up(self):
        for service in self.services.values():
            service.start()

    def print_logs(self, lines=15):
        for service in self.services.values():
            found = service.log.read_text(errors="replace").splitlines() if service.log.exists() else []
            print(f"--- {service.name}, the last lines of its log:", *found[-lines:], sep="\n", file=sys.stderr)
