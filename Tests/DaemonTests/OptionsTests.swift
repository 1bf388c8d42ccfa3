// The command line.
import Foundation
import Streams
import Testing

@testable import virtbrokerd

/// Serialized, because getopt keeps its position in global variables.
@Suite("options", .serialized)
struct OptionsTests {
  private static let here = FileManager.default.currentDirectoryPath

  private static func options(_ change: (inout Options) -> Void = { _ in }) -> Options.Request {
    var options = Options()
    change(&options)
    return .run(options)
  }

  @Test(
    "options are parsed as getopt_long parses them",
    arguments: [
      ([], options()),
      (["-d", "-v"], options { ($0.isDaemon, $0.isVerbose) = (true, true) }),
      (["-dv"], options { ($0.isDaemon, $0.isVerbose) = (true, true) }),
      (["--daemon", "--verbose"], options { ($0.isDaemon, $0.isVerbose) = (true, true) }),
      (["--daem"], options { $0.isDaemon = true }),
      (["-f", "/a"], options { $0.configurationFile = "/a" }),
      (["-f/a"], options { $0.configurationFile = "/a" }),
      (["--config=/a"], options { $0.configurationFile = "/a" }),
      (["--config", "/a"], options { $0.configurationFile = "/a" }),
      (["-f", "a"], options { $0.configurationFile = "\(here)/a" }),
      (["-p", "/a"], options { $0.pidFile = "/a" }),
      (["--pid-file", "b/a"], options { $0.pidFile = "\(here)/b/a" }),
      (["-t", "0"], options { $0.timeoutSeconds = 0 }),
      (["-t120"], options { $0.timeoutSeconds = 120 }),
      (["--timeout", "2147483647"], options { $0.timeoutSeconds = 2_147_483_647 }),
      (["-t", "1", "-t", "2"], options { $0.timeoutSeconds = 2 }),
      (["--check-config"], options { $0.checksConfiguration = true }),
      (["--check-tls"], options { $0.checksTLS = true }),
      (
        ["--check-tls", "--connect", "host:1"],
        options { ($0.checksTLS, $0.connect) = (true, "host:1") }
      ),
      (["--connect=h"], .refused(Message(.connectWithoutCheckTLS))),
      (["-v", "--"], options { $0.isVerbose = true }),
      (["-h"], .help),
      (["--help"], .help),
      (["-dvh", "stray"], .help),
      (["-V"], .version),
      (["--version"], .version),
    ] as [([String], Options.Request)])
  func read(arguments: [String], expected: Options.Request) {
    #expect(Options.read(["virtbrokerd"] + arguments) == expected)
  }

  @Test(
    "a timeout must be a number of seconds",
    arguments: ["", "x", "5x", "-1", "1.5", " 5", "2147483648", "99999999999999999999"])
  func timeout(text: String) {
    let message = Message(.invalidTimeout, [2_147_483_647, text])
    #expect(Options.read(["virtbrokerd", "--timeout=\(text)"]) == .refused(message))
  }

  @Test("an argument that is not an option is refused, at any position")
  func stray() {
    let refused = Options.Request.refused(Message(.unexpectedArgument, ["stray"]))
    #expect(Options.read(["virtbrokerd", "stray"]) == refused)
    #expect(Options.read(["virtbrokerd", "stray", "-v"]) == refused)
    #expect(Options.read(["virtbrokerd", "-v", "--", "stray", "more"]) == refused)
  }

  @Test(
    "a bad option exits 1, with the error and the usage on standard error",
    arguments: [
      (["--bogus"], "unrecognized option '--bogus'"),
      (["-x"], "invalid option -- 'x'"),
      (["-t"], "option requires an argument -- 't'"),
      (["--config"], "option '--config' requires an argument"),
      (["--ver"], "option '--ver' is ambiguous"),
      (["--help=me"], "option '--help' doesn't allow an argument"),
      (["--listen"], "unrecognized option '--listen'"),
    ])
  func bad(arguments: [String], complaint: String) throws {
    let result = try Program.run(arguments)
    #expect(result.status == 1)
    #expect(result.out == "")
    #expect(result.err.hasPrefix("\(Program.path): \(complaint)"))
    #expect(result.err.contains("\nUsage:\n"))
  }

  @Test("a refused value or argument exits 1 with one line on standard error")
  func refused() throws {
    let stray = try Program.run(["stray"])
    #expect(stray.status == 1 && stray.out == "")
    #expect(
      stray.err == "\(Program.path): \(Message(.unexpectedArgument, ["stray"]).line)\n")
    let timeout = try Program.run(["-t", "soon"])
    #expect(timeout.status == 1 && timeout.out == "")
    #expect(timeout.err.hasPrefix("\(Program.path): VB-OPT-002: "))
    #expect(timeout.err.hasSuffix("found 'soon'\n"))
  }

  @Test("help goes to standard error and names every option and the user's paths; exit 0")
  func help() throws {
    let result = try Program.run(["--help"])
    #expect(result.status == 0)
    #expect(result.out == "")
    for option in [
      "-h | --help", "-v | --verbose", "-d | --daemon", "-t | --timeout <secs>",
      "-f | --config <file>", "-V | --version", "-p | --pid-file <file>",
    ] {
      #expect(result.err.contains("  \(option) "))
    }
    let user = Options.usage(
      program: "x", places: Places(isRoot: false, environment: [:], home: "/home/u"))
    #expect(user.contains("/home/u/.cache/libvirt/libvirt-sock\n"))
    #expect(!user.contains("libvirt-sock-ro"))
    let root = Options.usage(
      program: "x", places: Places(isRoot: true, environment: [:], home: "/root"))
    #expect(root.contains("/run/libvirt/libvirt-sock\n      /run/libvirt/libvirt-sock-ro\n"))
  }

  @Test("the versions of the program and of its libraries go to standard output; exit 0")
  func version() throws {
    let result = try Program.run(["-V"])
    #expect(result.status == 0)
    let lines = result.out.split(separator: "\n")
    #expect(lines.count == 2 && lines[0] == "\(Program.path) (virtbroker) \(Options.version)")
    let libraries =
      /GnuTLS 3\.[0-9.]+, libev 4\.[0-9]+, Cyrus SASL 2\.[0-9.]+, libmicrohttpd [0-9.]+/
    #expect(lines.last?.wholeMatch(of: libraries) != nil, "\(result.out)")
    #expect(result.err == "")
  }

  @Test(
    "a host to check may have a port",
    arguments: [
      ("h", "h", "16514"), ("h:1", "h", "1"), ("[::1]:2", "::1", "2"), ("[::1]", "::1", "16514"),
      ("::1", "::1", "16514"), ("127.0.0.1:3", "127.0.0.1", "3"), ("h:", "h:", "16514"),
    ])
  func hosts(text: String, host: String, port: String) {
    let read = Daemon.hostAndPort(text, else: "16514")
    #expect(read.host == host && read.port == port)
  }
}
