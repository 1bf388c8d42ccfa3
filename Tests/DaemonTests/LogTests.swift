// Log lines, levels and outputs.
import Broker
import Foundation
import Streams
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

  @Test("a line has libvirt's format, with time in UTC, process and level")
  func line() {
    let moment = timespec(tv_sec: 1_795_255_209, tv_nsec: 7_999_999)
    #expect(
      LogLine.text(.info, "message", at: moment, process: 1234)
        == "2026-11-21 10:00:09.007+0000: 1234: info : message\n")
    let levels = [BrokerLog.Level.debug, .info, .warning, .error].map(\.name)
    #expect(levels == ["debug", "info", "warning", "error"])
  }

  @Test("outputs are parsed in libvirt's format")
  func outputs() throws {
    #expect(try LogOutput.read("") == [])
    #expect(
      try LogOutput.read(" 1:stderr\t2:file:/a:b 3:syslog:broker  4:journald ") == [
        LogOutput(.debug, .stderr), LogOutput(.info, .file(path: "/a:b")),
        LogOutput(.warning, .syslog(name: "broker")), LogOutput(.error, .journald),
      ])
    #expect(
      throws: StartFailure(
        .configuration, .invalidLogOutput, ["7:stderr"])
    ) { try LogOutput.read("1:stderr 7:stderr") }
  }

  @Test(
    "the environment overrides the file, and -v raises the level to info",
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
    #expect(plan.diagnostics.isEmpty)
  }

  @Test("outputs come from the environment, else from the file")
  func precedence() throws {
    let text = "log_outputs = \"2:file:/a\""
    #expect(try plan(text).outputs == [LogOutput(.info, .file(path: "/a"))])
    #expect(
      try plan(text, environment: ["LIBVIRT_LOG_OUTPUTS": "3:file:/b"]).outputs
        == [LogOutput(.warning, .file(path: "/b"))])
  }

  @Test("errors in the environment are reported: a level is ignored, an output ends the start")
  func wrongEnvironment() throws {
    let plan = try plan(environment: ["LIBVIRT_DEBUG": "loud"])
    #expect(plan.level == .warning)
    #expect(plan.diagnostics == [Diagnostic(.invalidDebugLevel, ["loud"])])
    #expect(
      throws: StartFailure(
        .configuration,
        [Message(.invalidLogFilter, ["rpc"]).prefixed("LIBVIRT_LOG_FILTERS: ")])
    ) { try self.plan(environment: ["LIBVIRT_LOG_FILTERS": "rpc"]) }
    let failure = #expect(throws: StartFailure.self) {
      try self.plan(environment: ["LIBVIRT_LOG_OUTPUTS": "1:fax"])
    }
    #expect(
      failure?.messages
        == [Message(.invalidLogOutput, ["1:fax"]).prefixed("LIBVIRT_LOG_OUTPUTS: ")])
  }

  @Test("the first filter that matches a name decides")
  func filters() throws {
    #expect(try LogFilter.read(" ") == [])
    let filters = try LogFilter.read("1:rpc 4:*tls*\t2:remote.?emote_daemon 3:+util")
    #expect(
      filters.map(\.text) == ["1:*rpc*", "4:*tls*", "2:*remote.?emote_daemon*", "3:*util*"])
    // The printed filters parse to the same filters.
    #expect(try LogFilter.read(filters.map(\.text).joined(separator: " ")) == filters)
    #expect(filters[0].fits("rpc.netserver") && !filters[0].fits("remote.remote_driver"))
    #expect(filters[2].fits("remote.remote_daemon_config"))
    for wrong in ["rpc", "0:rpc", "5:rpc", "1:", "1:+", ":rpc", "1"] {
      #expect(throws: StartFailure.self, "\(wrong)") { try LogFilter.read(wrong) }
    }
    let plan = try plan(
      "log_filters = \"1:rpc\"", environment: ["LIBVIRT_LOG_FILTERS": "3:tls 1:rpc"])
    #expect(plan.filters == [LogFilter(.warning, "tls"), LogFilter(.debug, "rpc")])
    #expect(try self.plan("log_filters = \"1:rpc\"").filters == [LogFilter(.debug, "rpc")])
  }

  @Test("level, filters and outputs decide which lines are written, and can change at any time")
  func steering() throws {
    let scratch = try Scratch()
    let (a, b) = ("\(scratch.path)/a", "\(scratch.path)/b")
    let book = LogBook()
    try book.follow(
      try plan("log_level = 3\nlog_filters = \"1:rpc.n\"\nlog_outputs = \"1:file:\(a)\""),
      usual: .stderr)
    let (daemon, client, alive) = (book[.daemon], book[.client], book[.keepAlive])
    func sayAll() {
      for log in [daemon, client, alive] { log.write(.testDetail, ["d"]) }
      for log in [daemon, client, alive] { log.write(.testWarning, ["w"]) }
      book.flush()
    }
    func levels(_ file: String) -> [String] {
      scratch.read(file).split(separator: "\n").map {
        String($0.split(separator: ": ", maxSplits: 2)[2])
      }
    }
    sayAll()
    #expect(
      levels("a") == ["debug : VB-TEST-001: d"]
        + Array(repeating: "warning : VB-TEST-002: w", count: 3))
    #expect(!daemon.takes(.info) && client.takes(.debug) && !alive.takes(.info))
    #expect(book.filtersText == "1:*rpc.n*" && book.outputsText == "1:file:\(a)")

    // Invalid values change nothing.
    #expect(book.setFilters("x")?.message.has(.invalidLogFilter) == true)
    #expect(
      book.setOutputs("1:file:/no/such/place")?.message
        == Message(.cannotOpenLogFile, ["/no/such/place", "No such file or directory"]))
    #expect(book.filtersText == "1:*rpc.n*" && book.outputsText == "1:file:\(a)")

    #expect(book.setOutputs("3:file:\(b)") == nil)
    #expect(book.setFilters("4:keepalive 1:daemon") == nil)
    sayAll()
    #expect(levels("a").count == 4)
    #expect(levels("b") == ["warning : VB-TEST-002: w", "warning : VB-TEST-002: w"])
    #expect(book.outputsText == "3:file:\(b)")
    #expect(book.filtersText == "4:*keepalive* 1:*daemon*")

    // Empty values restore the defaults: no filters, and the default output.
    #expect(book.setFilters(nil) == nil && book.setOutputs("") == nil)
    #expect(book.filtersText == "" && book.outputsText == "3:stderr")
    #expect(!daemon.takes(.info) && alive.takes(.warning))
  }

  @Test("the journal gets each line as a datagram with libvirt's fields")
  func journal() throws {
    let scratch = try Scratch()
    let journal = try DatagramSocket(boundTo: "\(scratch.path)/journal")
    let outputs = try OpenLogOutputs(
      [LogOutput(.info, .journald)], journal: "\(scratch.path)/journal")
    let log = BrokerLog(LogSink(threshold: .debug) { outputs.write($0) }, .tls)
    log.write(.testDetail, ["below the output's level"])
    log.write(
      .testWarning, [Message(.testError, ["two\nlines"])], file: "Broker/X.swift", line: 7,
      function: "f(_:)")
    #expect(
      journal.received() == [
        """
        MESSAGE=VB-TEST-002 VB-TEST-003: two\\u{a}lines
        PRIORITY=4
        SYSLOG_FACILITY=3
        SYSLOG_IDENTIFIER=virtbrokerd
        LIBVIRT_SOURCE=rpc.nettlscontext
        CODE_FILE=Broker/X.swift
        CODE_LINE=7
        CODE_FUNC=f(_:)
        VIRTBROKER_MESSAGE=VB-TEST-002
        VIRTBROKER_MESSAGE=VB-TEST-003

        """
      ])
    // A line about a client has its number and identity.
    log.about(LogClient(id: 7, identity: "SASL user 'fr\u{202e}ed'"))
      .write(.testWarning, ["of a client"])
    let fields = try #require(journal.received().first).split(separator: "\n").suffix(2)
    #expect(
      fields == ["VIRTBROKER_CLIENT=7", "VIRTBROKER_IDENTITY=SASL user 'fr\\u{202e}ed'"])
    // No process reads the socket: the log does not wait, and reports the number of lost lines later.
    for number in 0..<5000 { log.answer(Message(.testWarning, [number])) }
    let taken = journal.received().count
    #expect(taken > 0 && taken < 5000)
    log.write(.testError, ["after"])
    #expect(
      journal.received().first?.hasSuffix("VIRTBROKER_LOST_LINES=\(5000 - taken)\n") == true)

    #expect(
      throws: StartFailure(
        .configuration, .cannotLogToJournal,
        ["\(scratch.path)/none", "No such file or directory"])
    ) { try OpenLogOutputs([LogOutput(.info, .journald)], journal: "\(scratch.path)/none") }
  }

  @Test("a full pipe delays nothing, and later gets the number of lines it lost")
  func fullPipe() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/pipe"
    try #require(mkfifo(path, 0o600) == 0)
    let reader = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(reader) }
    let outputs = try OpenLogOutputs([
      LogOutput(.debug, .file(path: path)), LogOutput(.debug, .file(path: "\(scratch.path)/all")),
    ])
    outputs.begin()
    let log = BrokerLog(LogSink(threshold: .debug) { outputs.write($0) })
    let text = String(repeating: "x", count: 3000)
    let start = ContinuousClock.now
    for batch in 1...10 {
      for _ in 0..<100 { log.write(.testDetail, [text]) }
      // The other output still gets every line.
      #expect(eventually { scratch.read("all").utf8.count > batch * 100 * 3000 })
    }
    #expect(ContinuousClock.now - start < .seconds(100))
    var heard = ""
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    func hear() {
      let count = read(reader, &bytes, bytes.count)
      if count > 0 { heard += String(decoding: bytes[..<count], as: UTF8.self) }
    }
    #expect(
      eventually {
        hear()
        log.write(.testDetail, ["after"])
        return heard.contains(": debug : VB-TEST-001: after\n")
      })
    let note = try #require(
      heard.firstMatch(of: #/: warning : VB-LOG-007: (\d+) log lines lost: .*\n/#))
    let lost = try #require(Int(note.1))
    let whole = heard.split(separator: "\n").filter { $0.hasSuffix(" : VB-TEST-001: \(text)") }
      .count
    #expect(lost > 100 && whole + lost == 1000)
  }

  @Test("a line has a maximum length, and a longer message ends with its original length")
  func longLine() throws {
    let scratch = try Scratch()
    let outputs = try OpenLogOutputs([LogOutput(.debug, .file(path: "\(scratch.path)/log"))])
    let log = BrokerLog(LogSink(threshold: .debug) { outputs.write($0) })
    log.write(.testError, [String(repeating: "é\u{1b}", count: 400_000)])
    outputs.flush()
    let line = scratch.read("log")
    #expect(line.utf8.count < 4096 && line.hasSuffix("… (1200013 bytes in all)\n"))
  }

  @Test("the broker's lines reach every output with a matching level, and no other")
  func bridge() throws {
    let scratch = try Scratch()
    try scratch.write("old", "kept\n")
    let outputs = try OpenLogOutputs([
      LogOutput(.debug, .file(path: "\(scratch.path)/all")),
      LogOutput(.error, .file(path: "\(scratch.path)/old")),
    ])
    let log = BrokerLog(LogSink(threshold: .info) { outputs.write($0) })
    log.write(.testDetail, ["not wanted"])
    log.write(.testWarning, ["one\ntwo"])
    log.write(.testError, ["four"])
    outputs.flush()

    let lines = scratch.read("all").split(separator: "\n")
    let stamp = #/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: (\d+): /#
    #expect(
      lines.map { $0.trimmingPrefix(stamp) } == [
        "warning : VB-TEST-002: one\\u{a}two", "error : VB-TEST-003: four",
      ])
    #expect(lines.allSatisfy { $0.prefixMatch(of: stamp)?.1 == "\(getpid())" })
    #expect(scratch.read("old").hasPrefix("kept\n"))
    #expect(scratch.read("old").hasSuffix(": error : VB-TEST-003: four\n"))
    let mode = try FileManager.default.attributesOfItem(atPath: "\(scratch.path)/all")
    #expect(mode[.posixPermissions] as? Int == 0o600)
  }

  @Test("a log file that cannot be opened ends the start")
  func unopenable() throws {
    let scratch = try Scratch()
    #expect(
      throws: StartFailure(
        .configuration, .cannotOpenLogFile,
        ["\(scratch.path)/no/log", "No such file or directory"])
    ) { _ = try OpenLogOutputs([LogOutput(.debug, .file(path: "\(scratch.path)/no/log"))]) }
  }

  @Test("syslog gets the message under the configured name")
  func syslog() throws {
    // A private /dev/log, in a mount namespace; the program logs that it does not start.
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
    #expect(result.out == "status 1\n")
    // Standard error has the message too, because the user who starts the program may not know where the log is.
    #expect(
      result.err.hasPrefix(
        "\(Program.path): VB-CONF-005: \(configuration):5: listen_tls: expected 0 or 1"))
    // <27> is the facility daemon, 3, with the priority error, 3.
    let received = scratch.read("syslog")
    #expect(received.hasPrefix("<27>"))
    #expect(
      received.contains(
        " broker-test: VB-CONF-005: \(configuration):5: listen_tls: expected 0 or 1"))
  }
}
