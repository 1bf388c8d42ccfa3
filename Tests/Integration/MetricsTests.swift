// The metrics as a scraper gets them, and the audit log.
import Foundation
import Streams
import Testing

@Suite("Metrics and audit")
struct MetricsTests {
  /// A broker with metrics, in front of a backend that answers every call.
  private static func scene(_ settings: [String], at metrics: String) async throws -> Scene {
    try await Scene(settings: settings + ["metrics_listen = \"\(metrics)\""]) { _, _ in false }
  }

  private static func projectPath(_ path: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: path).path
  }

  private static func projectFile(_ path: String) throws -> String {
    try String(contentsOfFile: projectPath(path), encoding: .utf8)
  }

  private static let ended = "streams_ended_total{kind=\"upload\",result=\"client_gone\"}"

  private static func value(_ name: String, in text: String) -> Double? {
    let start = "virtbroker_\(name) "
    return text.split(separator: "\n").first { $0.hasPrefix(start) }.flatMap {
      Double($0.dropFirst(start.count))
    }
  }

  @Test("curl gets the metrics, promtool reports no problem, and the counters are correct")
  func metrics() async throws {
    let port = try BrokerProcess.freePort()
    let audit = try Scratch.directory("a") + "/audit.json"
    let scene = try await Self.scene(
      ["audit_log = \"file:\(audit)\""], at: "127.0.0.1:\(port)")
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      for _ in 0..<3 { _ = try client.call(157) }
      _ = try client.call(9999)
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      try client.send(RawClient.packet(stream, [UInt8](repeating: 1, count: 1000)))
      _ = try client.call(157)
    }
    let url = "http://127.0.0.1:\(port)/metrics"
    var text = ""
    for _ in 0..<100 where Self.value(Self.ended, in: text) != 1 {
      text = try await Command("curl", "-sSf", url).output()
    }
    var check = Command("promtool", "check", "metrics")
    check.input = text
    let verdict = try await check.run()
    #expect(verdict.status == 0, "\(verdict.output)\(verdict.errors)")
    #expect(verdict.errors.isEmpty, "\(verdict.errors)")
    func value(_ name: String) -> Double? { Self.value(name, in: text) }
    #expect(
      value(
        "calls_total{program=\"remote\",procedure=\"CONNECT_GET_LIB_VERSION\",result=\"ok\"}") == 4)
    #expect(value("calls_total{program=\"remote\",procedure=\"other\",result=\"ok\"}") == 1)
    #expect(value("call_duration_seconds_count{driver=\"storage\"}") == 1)
    #expect((value("clients_accepted_total") ?? 0) >= 1)
    #expect(value("streams_opened_total{kind=\"upload\"}") == 1)
    #expect(value("stream_bytes_total{kind=\"upload\",to=\"daemon\"}") == 1000)
    #expect(value(Self.ended) == 1)
    #expect(value("upstream_opens_total{result=\"opened\"}") == 1)
    #expect(value("loop_lag_seconds_bucket{le=\"+Inf\"}") != nil)
    #expect(text.contains(/virtbroker_build_info\{version="[0-9.]+[^"]*"\} 1\n/))
    for name in [
      "cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "start_time_seconds",
      "open_fds", "max_fds",
    ] {
      let line = text.split(separator: "\n").first { $0.hasPrefix("process_\(name) ") }
      #expect((line?.split(separator: " ").last.flatMap { Double($0) } ?? 0) > 0, "\(name)")
    }
    let started = text.firstMatch(of: /\nprocess_start_time_seconds ([0-9.e+]+)\n/)
    #expect(abs((started.flatMap { Double($0.1) } ?? 0) - Date().timeIntervalSince1970) < 600)
    #expect(!text.contains("volume"), "nothing a client wrote is in it")
    // Every metric in the dashboard exists; those of certificates exist only with TLS.
    let dashboard = try Self.projectFile("etc/grafana/virtbroker.json")
    var names = Set(dashboard.matches(of: /virtbroker_[a-z_]+(?=\{)/).map { String($0.0) })
    #expect(names.count > 10)
    // The same for the alert rules, which promtool checks too.
    let rules = try Self.projectFile("etc/prometheus/virtbroker.rules.yml")
    names.formUnion(
      rules.matches(of: /virtbroker_[a-z_]+(?=[\[{ )])/).map { String($0.0) })
    let rulesCheck = try await Command(
      "promtool", "check", "rules", Self.projectPath("etc/prometheus/virtbroker.rules.yml")
    ).run()
    #expect(rulesCheck.status == 0, "\(rulesCheck.output)\(rulesCheck.errors)")
    let rulesTest = try await Command(
      "promtool", "test", "rules", Self.projectPath("Tests/Integration/prometheus/rules.test.yml")
    ).run()
    #expect(rulesTest.status == 0, "\(rulesTest.output)\(rulesTest.errors)")
    for name in names where name != "virtbroker_tls_certificate_expiry_timestamp_seconds" {
      let family = name.replacing(/_bucket$/, with: "")
      #expect(text.contains("# TYPE \(family) "), "\(name)")
    }

    let head = try await Command("curl", "-sS", "-I", url).output()
    #expect(head.hasPrefix("HTTP/1.1 200"))
    let missing = try await Command("curl", "-sS", "-i", url + "/other").output()
    #expect(missing.hasPrefix("HTTP/1.1 404"))
    let posted = try await Command("curl", "-sS", "-i", "-d", "x=1", url).output()
    #expect(posted.hasPrefix("HTTP/1.1 405"))
    try await scene.end()
  }

  @Test(
    "metrics are served on a UNIX socket, and hanging scrapers delay neither clients nor other scrapers"
  )
  func hanging() async throws {
    let directory = try Scratch.directory("m")
    let path = directory + "/metrics"
    let scene = try await Self.scene([], at: path)
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      #expect(try client.call(157).header.status == .ok)
    }
    // More than the limit of connections: the oldest is closed, and the scrape does not wait.
    let silent = try await blocking {
      let silent = try (0..<60).map { _ in try RawClient(unix: path) }
      for client in silent { try? client.send(Array("GET /metrics HT".utf8)) }
      return silent
    }
    var scrape = Command("curl", "-sSf", "--unix-socket", path, "http://broker/metrics")
    scrape.limit = .seconds(8)
    let text = try await scrape.output()
    try await blocking {
      // A scraper that sends a byte now and then does not get more time.
      let slow = silent[59]
      let isOver = eventually(within: 30) {
        usleep(100_000)
        return (try? slow.send(Array("x".utf8))) == nil
      }
      #expect(isOver)
      for client in silent { _ = try client.awaitEnd(within: 30) }
    }
    #expect(text.contains("virtbroker_clients{transport=\"unix\",authentication=\"none\"}"))
    try await scene.end()
    #expect(!FileManager.default.fileExists(atPath: path), "the socket goes with the broker")
  }

  @Test(
    "the audit has connections, transferred bytes of streams, and the results of calls that change something"
  )
  func audit() async throws {
    let directory = try Scratch.directory("a")
    let path = directory + "/audit.json"
    let scene = try await Scene(settings: ["audit_log = \"file:\(path)\""]) { line, packet in
      guard packet.header.kind == .stream, packet.header.status == .ok else { return false }
      try line.send(Packets.make(packet.header))
      return true
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(.tcp)
      try client.open()
      _ = try client.call(157)
      _ = try client.call(9)
      let name = "v\"\n\u{7f}é"
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: name)
      try client.send(RawClient.packet(stream, [UInt8](repeating: 1, count: 1000)))
      var finish = stream
      finish.kind = .stream
      finish.status = .ok
      try client.send(Packets.make(finish))
      _ = try client.receive("the confirmation") {
        $0.header.kind == .stream && $0.header.status == .ok
      }
    }
    let isThere = try await blocking {
      eventually { Self.contents(path).contains("stream_ended") }
    }
    #expect(isThere)
    // A rotated file is opened again.
    try FileManager.default.moveItem(atPath: path, toPath: path + ".1")
    broker.signal(SIGHUP)
    try await blocking {
      #expect(
        eventually {
          _ = try? broker.client()
          return Self.contents(path).contains("connection_opened")
        })
    }
    try await scene.end()

    // Another JSON parser reads the records and checks their content.
    let script = """
      import json, sys
      records = [json.loads(line) for path in sys.argv[1:] for line in open(path)]
      us = next(r['client'] for r in records if r['event'] == 'stream_opened')
      for r in records:
          assert r['time'].endswith('Z'), r
          if r['client'] == us:
              assert r['transport'] == 'tcp' and r['address'].startswith('127.0.0.1:'), r
              print(r['event'], r.get('procedure'), ascii(r.get('object')), r.get('bytes_to_daemon'),
                    r.get('result'), sep='|')
      """
    let read = try await Command("/usr/bin/python3", "-c", script, path + ".1", path).output()
    let object = "'p/v\"\\n\\x7f\\xe9'"
    #expect(
      read == """
        connection_opened|None|None|None|None
        call|DOMAIN_CREATE|None|None|ok
        call|STORAGE_VOL_UPLOAD|None|None|ok
        stream_opened|STORAGE_VOL_UPLOAD|\(object)|None|None
        stream_ended|STORAGE_VOL_UPLOAD|\(object)|1000|finished
        connection_closed|None|None|None|None

        """, "\(Self.contents(path + ".1"))\(broker.log)")
  }

  @Test("logrotate with the installed configuration loses no record")
  func rotation() async throws {
    let directory = try Scratch.directory("a")
    let path = directory + "/virtbroker-audit.log"
    let scene = try await Scene(settings: ["audit_log = \"file:\(path)\""]) { _, _ in false }
    let broker = scene.broker
    let shipped = try Self.projectFile("etc/logrotate.d/virtbroker")
    #expect(shipped.contains("/var/log/libvirt/virtbroker-audit.log"))
    // The same file with other paths; here no service manager knows the broker.
    let mine = shipped.replacing("/var/log/libvirt", with: directory)
      .replacing(/systemctl .*\n/, with: "kill -HUP \(broker.pid)\n")
    try mine.write(toFile: directory + "/rotate", atomically: false, encoding: .utf8)
    chmod(directory + "/rotate", 0o644)
    try await blocking { try broker.client().open() }
    #expect(try await blocking { eventually { Self.contents(path).contains("connection_closed") } })
    let before = Self.contents(path)
    let rotated = try await Command(
      "logrotate", "--force", "--state", directory + "/state", directory + "/rotate"
    ).run()
    #expect(rotated.status == 0, "\(rotated.errors)")
    #expect(Self.contents(path + ".1").hasPrefix(before))
    #expect(
      try await blocking {
        eventually {
          _ = try? broker.client()
          return Self.contents(path).contains("connection_opened")
        }
      })
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    try await scene.end()
  }

  @Test("an audit pipe without a reader delays neither clients nor the exit")
  func unread() async throws {
    let path = try Scratch.directory("a") + "/pipe"
    #expect(mkfifo(path, 0o600) == 0)
    let reader = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(reader) }
    let scene = try await Scene(settings: ["audit_log = \"file:\(path)\""]) { _, _ in false }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      for _ in 0..<1000 { #expect(try client.call(9).header.status == .ok) }
    }
    try await scene.end()
  }

  @Test("the error for an unavailable port names the setting")
  func port() async throws {
    let port = try BrokerProcess.freePort()
    let first = try await Self.scene([], at: "127.0.0.1:\(port)")
    let directory = try Scratch.directory("m")
    try """
    unix_sock_dir = "\(directory)"
    metrics_listen = "127.0.0.1:\(port)"
    auth_unix_rw = "none"
    auth_unix_ro = "none"
    """.write(toFile: directory + "/conf", atomically: false, encoding: .utf8)
    let result = try await Command(
      BrokerProcess.executable, "-f", directory + "/conf", "-p", directory + "/pid"
    ).run()
    #expect(result.status == 6)
    #expect(
      result.errors.contains(
        "metrics_listen: cannot bind 127.0.0.1:\(port): Address already in use"),
      "\(result.errors)")
    try await first.end()
  }

  @Test("no record is lost when the broker exits right after many of them")
  func flood() async throws {
    let path = try Scratch.directory("a") + "/audit.json"
    let scene = try await Scene(settings: [
      "audit_log = \"file:\(path)\"", "audit_calls = [ \"change\", \"disclose\", \"read\" ]",
      "max_client_requests = 64",
    ]) { _, _ in false }
    let broker = scene.broker
    let (first, last): (UInt32, UInt32) = try await blocking {
      let client = try broker.client()
      try client.open()
      let calls = (0..<6400).map { _ in client.header(157) }
      for place in stride(from: 0, to: calls.count, by: 64) {
        for call in calls[place..<place + 64] { try client.send(Packets.make(call)) }
        for _ in 0..<64 { _ = try client.receive() }
      }
      return (try #require(calls.first).serial, try #require(calls.last).serial)
    }
    try await scene.end()
    let serials = Self.contents(path).split(separator: "\n").compactMap { line in
      line.contains("\"CONNECT_GET_LIB_VERSION\"")
        ? line.firstMatch(of: /"serial":([0-9]+)/).flatMap { UInt32($0.1) } : nil
    }
    #expect(serials == Array(first...last))
  }

  @Test("an audit that cannot be written delays no client, and the log reports it")
  func unwritable() async throws {
    let scene = try await Scene(settings: ["audit_log = \"file:/dev/full\""]) { _, _ in false }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      for _ in 0..<10 { #expect(try client.call(9).header.status == .ok) }
      #expect(
        eventually {
          broker.log.contains(
            "VB-AUDIT-004 VB-AUDIT-005: audit records are lost: cannot write to /dev/full")
        })
    }
    try await scene.end()
  }

  private static func contents(_ path: String) -> String {
    (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
  }
}
