// Log lines, levels and outputs.
import Broker
import Foundation
import Logging
import Testing

@testable import virtbrokerd

@Suite("logging")
struct LogTests {
  private func plan(
    _ text: String = "", environment: [String: String] = [:], isVerbose: Bool = false
  ) throws -> LogPlan {
    let (configuration, _) = try Configuration.reading(text)
    return try LogPlan(
      configuration: configuration, environment: environment, isVerbose: isVerbose,
      otherwise: .stderr)
  }

  @Test("a line has libvirt's form, with time in UTC, process and level")
  func line() {
    let moment = timespec(tv_sec: 1_795_255_209, tv_nsec: 7_999_999)
    #expect(
      LogLine.text(.info, "message", at: moment, process: 1234)
        == "2026-11-21 10:00:09.007+0000: 1234: info : message\n")
    let levels = [BrokerLog.Level.debug, .info, .warning, .error].map(\.name)
    #expect(levels == ["debug", "info", "warning", "error"])
  }

  @Test("nothing a client says can start a line of its own or steer a terminal")
  func printables() {
    #expect(
      printable("a\nb\u{1b}[2J\u{7f}\u{85}\u{2028}ü")
        == "a\\u{a}b\\u{1b}[2J\\u{7f}\\u{85}\\u{2028}ü")
    #expect(printable("Grüße, \"1\"") == "Grüße, \"1\"")
  }

  @Test("outputs are read in libvirt's form")
  func outputs() throws {
    #expect(try LogOutput.read("") == [])
    #expect(
      try LogOutput.read(" 1:stderr\t2:file:/a:b 3:syslog:broker  4:journald ") == [
        LogOutput(.debug, .stderr), LogOutput(.info, .file(path: "/a:b")),
        LogOutput(.warning, .syslog(name: "broker")), LogOutput(.error, .journald),
      ])
    #expect(
      throws: StartFailure(
        .configuration,
        "expected a log output as N:stderr, N:file:/path, N:syslog:name or N:journald with N "
          + "from 1 to 4, found '7:stderr'")
    ) { try LogOutput.read("1:stderr 7:stderr") }
  }

  @Test(
    "the environment wins over the file, and -v raises to info",
    arguments: [
      ("", "", false, BrokerLog.Level.warning),
      ("log_level = 0", "", false, .warning),
      ("log_level = 4", "", false, .error),
      ("log_level = 4", "1", false, .debug),
      ("log_level = 4", "info", false, .info),
      ("log_level = 1", "warning", false, .warning),
      ("log_level = 1", "4", false, .error),
      ("", "", true, .info),
      ("log_level = 4", "", true, .info),
      ("log_level = 1", "", true, .debug),
      ("", "error", true, .info),
    ])
  func level(text: String, debug: String, isVerbose: Bool, expected: BrokerLog.Level) throws {
    let environment = debug.isEmpty ? [:] : ["LIBVIRT_DEBUG": debug]
    let plan = try plan(text, environment: environment, isVerbose: isVerbose)
    #expect(plan.level == expected)
    #expect(plan.outputs == [LogOutput(expected, .stderr)])
    #expect(plan.findings.isEmpty)
  }

  @Test("outputs come from the environment, else from the file")
  func precedence() throws {
    let text = "log_outputs = \"2:file:/a\""
    #expect(try plan(text).outputs == [LogOutput(.info, .file(path: "/a"))])
    #expect(
      try plan(text, environment: ["LIBVIRT_LOG_OUTPUTS": "3:file:/b"]).outputs
        == [LogOutput(.warning, .file(path: "/b"))])
  }

  @Test("what the environment gets wrong is told: a level is ignored, an output ends the start")
  func wrongEnvironment() throws {
    let plan = try plan(
      environment: ["LIBVIRT_DEBUG": "loud", "LIBVIRT_LOG_FILTERS": "1:rpc"])
    #expect(plan.level == .warning)
    #expect(
      plan.findings.map(\.text) == [
        "LIBVIRT_DEBUG: ignored, expected debug, info, warning, error or 1 to 4, found 'loud'",
        "LIBVIRT_LOG_FILTERS: log filters have no effect yet",
      ])
    let failure = #expect(throws: StartFailure.self) {
      try self.plan(environment: ["LIBVIRT_LOG_OUTPUTS": "1:fax"])
    }
    #expect(
      failure?.description
        == "LIBVIRT_LOG_OUTPUTS: expected a log output as N:stderr, N:file:/path, N:syslog:name or "
        + "N:journald with N from 1 to 4, found '1:fax'")
  }

  @Test("journald is taken, with one warning that it goes through syslog")
  func journald() throws {
    let plan = try plan("log_outputs = \"1:journald 2:journald\"")
    #expect(plan.findings.map(\.text) == ["log output journald: written through syslog for now"])
  }

  @Test("the broker's lines reach every output that takes their level, and no other")
  func bridge() throws {
    let scratch = try Scratch()
    try scratch.write("old", "kept\n")
    let outputs = try OpenLogOutputs([
      LogOutput(.debug, .file(path: "\(scratch.path)/all")),
      LogOutput(.error, .file(path: "\(scratch.path)/old")),
    ])
    var logger = Logger(label: "test") { _ in LibvirtLogHandler(outputs) }
    logger.logLevel = .info
    logger.debug("not wanted")
    logger.info("one\ntwo", metadata: ["b": "2", "a": "1"])
    logger.notice("three")
    logger.critical("four")

    let log = BrokerLog(logger)
    #expect(log.threshold == .info)

    let lines = scratch.read("all").split(separator: "\n")
    let stamp = #/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: (\d+): /#
    #expect(
      lines.map { $0.trimmingPrefix(stamp) } == [
        "info : one\\u{a}two a=1 b=2", "info : three", "error : four",
      ])
    #expect(lines.allSatisfy { $0.prefixMatch(of: stamp)?.1 == "\(getpid())" })
    #expect(scratch.read("old").hasPrefix("kept\n"))
    #expect(scratch.read("old").hasSuffix(": error : four\n"))
    let mode = try FileManager.default.attributesOfItem(atPath: "\(scratch.path)/all")
    #expect(mode[.posixPermissions] as? Int == 0o600)
  }

  @Test("a log file that cannot be opened ends the start")
  func unopenable() throws {
    let scratch = try Scratch()
    #expect(
      throws: StartFailure(
        .configuration, "cannot open the log file \(scratch.path)/no/log: No such file or directory"
      )
    ) { _ = try OpenLogOutputs([LogOutput(.debug, .file(path: "\(scratch.path)/no/log"))]) }
  }

  @Test("syslog gets the message under the given name")
  func syslog() throws {
    // A /dev/log of its own, in a mount namespace; the program's refusal to start is what is logged.
    let scratch = try Scratch()
    let configuration = try scratch.configuration("listen_tls = 2")
    let script = """
      set -e
      mkdir "$1/dev"
      mount -t tmpfs none "$1/dev"
      touch "$1/dev/null" "$1/dev/urandom"
      mount --bind /dev/null "$1/dev/null"
      mount --bind /dev/urandom "$1/dev/urandom"
      mount --rbind "$1/dev" /dev
      socat -u UNIX-RECV:/dev/log "OPEN:$1/syslog,creat,append" &
      while [ ! -S /dev/log ]; do sleep 0.02; done
      LIBVIRT_LOG_OUTPUTS='1:syslog:broker-test' "$2" -f "$3" -p "$1/pid" || echo "status $?"
      for i in $(seq 500); do grep -q listen_tls "$1/syslog" && break; sleep 0.02; done
      """
    let result = try Program(
      [
        "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", scratch.path,
        Program.path, configuration,
      ], program: "/usr/bin/unshare"
    ).result()
    #expect(result.out == "status 1\n" && result.err == "")
    // <27> is the facility daemon, 3, with the priority error, 3.
    let received = scratch.read("syslog")
    #expect(received.hasPrefix("<27>"))
    #expect(
      received.contains(" broker-test: \(configuration):5: listen_tls: expected 0 or 1"))
  }
}
