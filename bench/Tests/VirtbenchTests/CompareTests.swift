// The built program, from the command line to the report.
import Ends
import Foundation
import Testing

@testable import virtbench

@Suite("Compare")
struct CompareTests {
  /// A temporary directory. It is removed with its owner.
  private final class Scratch {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("virtbench-test.\(UUID().uuidString.prefix(8))")
    init() throws {
      try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(at: url) }
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
  }

  private var program: String {
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
      .appendingPathComponent("virtbench").path
  }

  private let small = [
    "--rounds", "2", "--mib", "1", "--seconds", "0.02", "--name", "trial", "--measure",
    "download,streams,calls",
  ]

  @Test("it measures peers that run, skips others, and reports both")
  func report() throws {
    let scratch = try Scratch()
    // The test's own endpoint, in addition to those that the program starts.
    let endpoint = try Endpoint(path: scratch.path("sock"))
    try detach { endpoint.run() }
    defer { endpoint.stop() }
    let said = try Program.run(
      program,
      ["compare"] + small + [
        "--peers", "direct,virtbrokerd,limit", "--broker", scratch.path("none"), "--results",
        scratch.path("results"), "--peer", "mine=unix:\(scratch.path("sock")),pid=\(getpid())",
        "--peer", "gone=unix:\(scratch.path("gone"))",
      ], patience: 120)
    #expect(said.contains("round 1 of 2: download, one stream"))
    #expect(said.contains("round 2 of 2: calls, 16 under way; "))
    let day = try #require(
      try FileManager.default.contentsOfDirectory(atPath: scratch.path("results"))
        .first { $0.hasSuffix("-trial.md") })
    let text = try String(contentsOfFile: scratch.path("results/\(day)"), encoding: .utf8)
    #expect(text.contains("there is no program at \(scratch.path("none")) (--broker)"))
    #expect(text.contains("SKIPPED: connecting to unix:\(scratch.path("gone"))"))
    for peer in ["direct", "limit", "mine"] {
      #expect(text.components(separatedBy: "\n| \(peer) |").count - 1 == 4, "\(peer): \(text)")
    }
    let data = try Data(
      contentsOf: scratch.url.appendingPathComponent(
        "results/\(day.dropLast(3)).json"))
    struct Document: Decodable { let results: Results }
    let results = try JSONDecoder().decode(Document.self, from: data).results
    #expect(results.runs.count == 2 * 3 * 3)
    for run in results.runs {
      let isCPUKnown = run.figures["relay's CPU"] != nil
      #expect(isCPUKnown == (run.peer != "direct"), "\(run)")
      #expect(run.figures.values.allSatisfy { $0 > 0 || run.measurement.hasPrefix("download") })
    }
  }

  @Test("when interrupted, it ends its programs and removes its files")
  func interrupted() throws {
    let scratch = try Scratch()
    let child = try Child(
      "/usr/bin/env",
      [
        "TMPDIR=\(scratch.url.path)", program, "compare", "--peers", "direct,limit", "--measure",
        "calls", "--seconds", "60", "--results", scratch.path("results"),
      ], log: scratch.path("output"))
    let deadline = Date(timeIntervalSinceNow: 60)
    func output() -> String {
      (try? String(contentsOfFile: scratch.path("output"), encoding: .utf8)) ?? ""
    }
    while !output().contains("round 1"), child.isRunning, Date() < deadline { usleep(20_000) }
    try #require(output().contains("round 1"), "\(output())")
    kill(child.pid, SIGINT)
    #expect(child.wait(seconds: 30) != nil)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: scratch.url.path) == ["output"])
  }

  private static let lab = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../../Tests/Integration/lab/lab").standardizedFileURL.path
  private static let isLabPossible =
    getuid() == 0 && Program.find("libvirtd") != nil && Program.find("virsh") != nil

  @Test(
    "virsh transfers volumes of a real libvirtd through each peer",
    .enabled(if: isLabPossible, "needs root and libvirt"))
  func real() throws {
    let scratch = try Scratch()
    _ = try Program.run(
      program,
      [
        "compare", "--measure", "virsh-download,virsh-upload", "--peers",
        "direct,limit,libvirtd-tcp", "--client-mib", "3", "--rounds", "1", "--name", "trial",
        "--lab", Self.lab, "--results", scratch.path("results"),
      ], patience: 180)
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: scratch.path("results"))
        .first { $0.hasSuffix(".json") })
    struct Document: Decodable { let results: Results }
    let data = try Data(contentsOf: scratch.url.appendingPathComponent("results/\(name)"))
    let results = try JSONDecoder().decode(Document.self, from: data).results
    #expect(results.skips.isEmpty, "\(results.skips)")
    #expect(
      results.runs.map(\.peer) == ["direct", "limit", "libvirtd-tcp"] + [
        "direct", "limit", "libvirtd-tcp",
      ])
    for run in results.runs {
      #expect((run.figures["relay's CPU"] != nil) == (run.peer == "limit"))
      #expect((run.figures["libvirtd's CPU"] ?? 0) > 0 && (run.figures["throughput"] ?? 0) > 0)
    }
  }

  @Test(
    "virtproxyd is started so that it finds the daemon by its fixed paths",
    .enabled(if: getuid() == 0 && Program.find("socat") != nil, "needs root and socat"))
  func virtproxyd() throws {
    let scratch = try Scratch()
    let endpoint = try Endpoint(path: scratch.path("sock"))
    try detach { endpoint.run() }
    defer { endpoint.stop() }
    // In place of virtproxyd a relay with the same configuration and paths. It accepts only virtproxyd's options:
    // virtproxyd(8) has no --listen, because listen_tcp alone opens the port.
    let stand = scratch.path("stand-in")
    try """
    #!/bin/sh
    printf '%s\\n' "$@" > "\(scratch.path("arguments"))"
    printf '%s' "$LD_LIBRARY_PATH" > "\(scratch.path("libraries"))"
    while [ $# -gt 0 ]; do
      case $1 in
        -f | --config) file=$2; shift ;;
        -p | --pid-file | -t | --timeout) shift ;;
        -v | --verbose | -d | --daemon | -h | --help | -V | --version) ;;
        *) echo "unrecognized option '$1'" >&2; exit 2 ;;
      esac
      shift
    done
    port=$(sed -n 's/^tcp_port = "\\(.*\\)"/\\1/p' "$file")
    grep -qx 'auth_tcp = "none"' "$file" && grep -qx 'listen_tcp = 1' "$file" || exit 3
    touch /var/lib/libvirt/mark /etc/libvirt/mark
    [ -S /run/libvirt/virtstoraged-sock ] || exit 4
    exec socat "TCP-LISTEN:$port,bind=127.0.0.1,fork" UNIX-CONNECT:/run/libvirt/virtqemud-sock
    """.write(toFile: stand, atomically: true, encoding: .utf8)
    chmod(stand, 0o755)
    let scene = Scene(
      backend: .synthetic, socket: scratch.path("sock"), lab: nil, directory: scratch.url)
    let (subject, child) = try Peer.virtproxyd.start(
      Peer.Programs(broker: "", virtproxyd: stand, virtproxydLibraries: "/opt/libvirt/lib"),
      in: scene)
    defer { child?.stop() }
    #expect(subject.process == child?.pid)
    let figures = try StreamLoad(name: "download", kind: .download, bytes: 1 << 20, streams: 1)
      .measure(subject)
    #expect((figures[.throughput] ?? 0) > 0)
    let arguments = try String(contentsOfFile: scratch.path("arguments"), encoding: .utf8)
    #expect(
      arguments.split(separator: "\n") == [
        "--config", "\(scratch.path("virtproxyd/configuration"))", "--pid-file",
        "/run/virtproxyd.pid",
      ])
    let libraries = try String(contentsOfFile: scratch.path("libraries"), encoding: .utf8)
    #expect(libraries == "/opt/libvirt/lib")
    for place in ["var/lib/libvirt/mark", "etc/libvirt/mark"] {
      #expect(FileManager.default.fileExists(atPath: scratch.path("virtproxyd/\(place)")))
      #expect(
        !FileManager.default.fileExists(atPath: "/\(place)"), "the machine's own is left alone")
    }
  }

  @Test("a virtproxyd outside the system's directories gets the libvirt beside it")
  func libraries() throws {
    let scratch = try Scratch()
    let files = FileManager.default
    func path(_ program: String, _ library: String?) throws -> String? {
      let tree = scratch.url.appendingPathComponent(UUID().uuidString)
      for file in [program, library].compactMap({ $0 }) {
        let url = tree.appendingPathComponent(file)
        try files.createDirectory(
          at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data().write(to: url)
      }
      return Peer.Programs(broker: "", virtproxyd: tree.path + "/" + program)
        .virtproxydLibraryPath?.replacingOccurrences(of: tree.path + "/", with: "")
    }
    #expect(try path("build/src/virtproxyd", "build/src/libvirt.so.0") == "build/src")
    #expect(try path("usr/sbin/virtproxyd", "usr/lib/libvirt.so.0") == "usr/lib")
    #expect(try path("usr/sbin/virtproxyd", "usr/lib64/libvirt.so.0") == "usr/lib64")
    let multiarch = "usr/lib/x86_64-linux-gnu"
    #expect(try path("usr/sbin/virtproxyd", "\(multiarch)/libvirt.so.0") == multiarch)
    #expect(try path("usr/sbin/virtproxyd", nil) == nil)
    #expect(Peer.Programs(broker: "", virtproxyd: nil).virtproxydLibraryPath == nil)
    #expect(
      Peer.Programs(broker: "", virtproxyd: nil, virtproxydLibraries: "/l").virtproxydLibraryPath
        == "/l")
  }

  @Test("an incomplete upload is detected")
  func volumes() throws {
    let scratch = try Scratch()
    let volumes = try LabVolumes(bytes: 3 << 20 | 5, otherwise: scratch.url)
    defer { volumes.remove() }
    try volumes.compareTarget()
    try volumes.spoilTarget()
    #expect(throws: EndFailure.self) { try volumes.compareTarget() }
    try Data(contentsOf: volumes.source).write(to: volumes.target)
    try volumes.compareTarget()
    // One byte too many is as wrong as a different byte.
    try (Data(contentsOf: volumes.source) + [0]).write(to: volumes.target)
    #expect(throws: EndFailure.self) { try volumes.compareTarget() }
    // The source has no holes.
    let bytes = try Data(contentsOf: volumes.source)
    #expect(bytes.count == volumes.bytes)
    for start in stride(from: 0, to: bytes.count, by: 4096) {
      #expect(bytes[start..<min(start + 4096, bytes.count)].contains { $0 != 0 })
    }
  }

  @Test("a command that fails or hangs is reported")
  func commands() throws {
    #expect(try Program.run("/bin/sh", ["-c", "echo yes"]) == "yes\n")
    let failure = #expect(throws: EndFailure.self) {
      try Program.run("/bin/sh", ["-c", "echo why >&2; exit 3"])
    }
    #expect(failure?.description.contains("why") == true)
    let late = #expect(throws: EndFailure.self) {
      try Program.run("/bin/sleep", ["60"], patience: 0.2)
    }
    #expect(late?.description.contains("took longer than 0.2 s") == true)
  }
}
