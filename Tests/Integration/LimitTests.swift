// `virtbroker limit`: rates shown and changed while streams are open.
import Foundation
import Streams
import Testing

/// The user name of this process.
private let userName = getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? "root"

@Suite("virtbroker limit")
struct LimitTests {
  @Test("a rate can be set for an identity exactly as tables, JSON and the audit show it")
  func spelling() async throws {
    let audit = try Scratch.directory("a") + "/audit"
    let scene = try await Scene(settings: ["audit_log = \"file:\(audit)\""]) { _, _ in false }
    let tool = Tool(broker: scene.broker)
    let client = try await blocking {
      let client = try scene.broker.client()
      try client.open()
      _ = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      return client
    }
    let shown = try #require(try await tool.rows("streams").first?["identity"] as? String)
    #expect(try await tool.rows("clients").first?["identity"] as? String == shown)
    #expect(try await tool.table("streams").first?["IDENTITY"] == shown)
    #expect(try await tool.table("clients").first?["IDENTITY"] == shown)
    #expect(
      eventually {
        (try? String(contentsOfFile: audit, encoding: .utf8))?
          .contains("\"identity\":\"\(shown)\"") == true
      })
    for identity in [shown, userName] {
      let result = try await tool.run("limit", "upload", "5M", "--identity", identity)
      #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
    }
    withExtendedLifetime(client) {}
    try await scene.end()
  }

  @Test("a rate for an identity without clients is set, with a warning")
  func unmatched() async throws {
    let scene = try await Scene { _, _ in false }
    let tool = Tool(broker: scene.broker)
    let result = try await tool.run("limit", "upload", "5M", "--identity", "no\u{1b}such")
    #expect(result.status == 0)
    #expect(
      result.errors.hasPrefix("virtbroker: warning: VB-TOOL-025: 'no\\u{1b}such' "), "\(result)")
    #expect(result.output.contains("5.0 MiB/s"))
    // Removing a rule, and the total rate, do not concern a single client.
    for arguments in [
      ["limit", "upload", "default", "--identity", "no\u{1b}such"], ["limit", "upload", "1M"],
    ] {
      #expect(try await tool.run(arguments).errors.isEmpty)
    }
    try await scene.end()
  }

  @Test("it shows every rate, and the rates it has changed")
  func shows() async throws {
    let scene = try await Scene(settings: [
      "max_upload_rate = \"10M\"",
      "identity_rates = [ \"upload 500K joe@*\", \"console 0 uid 7\" ]",
    ]) { _, _ in false }
    let tool = Tool(broker: scene.broker)
    func shown(_ arguments: String...) async throws -> [[String]] {
      let text = try await tool.run(arguments + ["--json"]).output
      let rows = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]] ?? []
      return rows.map {
        [
          $0["kind"] as? String ?? "?", $0["identity"] as? String ?? "-",
          ($0["bytes_per_second"] as? Int).map(String.init) ?? "?",
        ]
      }
    }
    let totals = [
      ["console", "-", "0"], ["upload", "-", "10485760"], ["download", "-", "0"],
      ["migration", "-", "0"],
    ]
    let joe = ["upload", "joe@*", "512000"]
    let seven = ["console", "uid 7", "0"]
    #expect(try await shown("limit") == totals + [joe, seven])
    #expect(try await shown("limit", "upload") == [totals[1], joe])

    #expect(try await shown("limit", "download", "1.5G")[0][2] == "1610612736")
    #expect(try await shown("limit", "upload", "off") == [["upload", "-", "0"], joe])
    let ann = ["upload", "ann", "1000"]
    #expect(
      try await shown("limit", "upload", "1000", "--identity", "ann")
        == [["upload", "-", "0"], ann, joe],
      "it comes first, or it might have no effect")
    #expect(
      try await shown("limit", "upload", "off", "--identity", "joe@*").last
        == ["upload", "joe@*", "0"],
      "and stays where it was")
    #expect(
      try await shown("limit", "upload", "default", "--identity", "joe@*")
        == [["upload", "-", "0"], ann])
    #expect(
      eventually {
        scene.broker.log.contains(
          "VB-ADMIN-015: an administrator sets the upload rate of each 'ann' to 1000")
      })

    let table = try await tool.table("limit")
    #expect(
      table.map { $0["KIND"] } == [
        "console", "upload", "download", "migration", "upload", "console",
      ])
    #expect(table[2]["RATE"] == "1.5 GiB/s" && table[2]["OF"] == "all together")
    #expect(table[4]["RATE"] == "1000 B/s" && table[4]["OF"] == "each 'ann'")
    #expect(table[0]["RATE"] == "off")
    try await scene.end()
  }

  @Test(
    "invalid arguments are refused with the reason and change nothing",
    arguments: [
      (["uploads", "10M"], Int32(1), "'uploads' has no rate: expected console, upload, download"),
      (["uploads"], 1, "VB-TOOL-024: there is no rate for streams of the kind 'uploads'"),
      (["upload", "10m"], 1, "'10m' is no rate: expected bytes a second like 500K"),
      (["upload", "default"], 1, "'default' requires an identity"),
      (["upload", "default", "--identity", "joe"], 1, "there is no upload rate for 'joe'"),
      (["upload", "1M", "--identity", ""], 1, "an empty identity matches no client"),
      (["upload", "--identity", "joe"], 64, "VB-TOOL-021: --identity requires a kind and a rate"),
      (["upload", String(repeating: "9", count: 40)], 64, "VB-TOOL-022: "),
    ])
  func nonsense(arguments: [String], status: Int32, reason: String) async throws {
    let scene = try await Scene { _, _ in false }
    let tool = Tool(broker: scene.broker)
    let before = try await tool.run("limit").output
    let result = try await tool.run(["limit"] + arguments)
    #expect(result.status == status, "\(result)")
    #expect(result.errors.contains(reason), "\(result.errors)")
    #expect(try await tool.run("limit").output == before)
    try await scene.end()
  }

  @Test(
    "a rate applies to an open stream and can be removed; calls and consoles are not delayed",
    arguments: Way.allCases, [nil, "uid \(getuid())", userName])
  func underWay(way: Way, identity: String?) async throws {
    // An anonymous TCP client has no identity, and so no rate of its own.
    if way == .tcp, identity != nil { return }
    let scene = try await Scene { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    let tool = Tool(broker: broker)
    let whose = identity.map { ["--identity", $0] } ?? []
    let (client, stream, other, console) = try await blocking {
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      let other = try broker.client(way)
      try other.open()
      return (
        client, stream, other,
        try other.openStream(Remote.domainOpenConsole, pool: "p", volume: "v")
      )
    }
    let line = try backend.line(0)
    let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: 8 << 10))
    let before = line.receivedBytes
    func arrived() -> Int { (line.receivedBytes - before) / packet.count }
    try client.send(packet)
    #expect(eventually { arrived() == 1 })

    #expect(try await tool.run(["limit", "upload", "10K"] + whose).status == 0)
    try await blocking {
      for _ in 0..<40 { try client.send(packet) }
      // More than half a minute of stream data is queued before these calls.
      #expect(try client.call(157).header.status == .ok)
      #expect(try other.call(157).header.status == .ok)
      let far = try backend.line(1)
      let heard = far.receivedBytes
      try other.send(RawClient.packet(console, [65]))
      #expect(eventually { far.receivedBytes > heard })
    }
    #expect(arrived() < 41)
    let row = try await tool.rows("streams").first { $0["kind"] as? String == "upload" }
    #expect(row?["paused_by"] as? String == "limit")

    let off = identity == nil ? "off" : "default"
    #expect(try await tool.run(["limit", "upload", off] + whose).status == 0)
    #expect(eventually { arrived() == 41 })
    #expect(try await blocking { try client.call(157).header.status } == .ok)
    let after = try await tool.rows("streams")
    #expect(after.count { $0["paused_by"] != nil } == 0)
    try await scene.end()
  }

  @Test("a rate set with the tool survives a reload until the file has a new rate")
  func reload() async throws {
    let scene = try await Scene(settings: ["max_upload_rate = \"1M\""]) { _, _ in false }
    let tool = Tool(broker: scene.broker)
    func rate() async throws -> String? {
      try await tool.table("limit", "upload").first?["RATE"]
    }
    _ = try await tool.run("limit", "upload", "2M")
    scene.broker.signal(SIGHUP)
    #expect(eventually { scene.broker.log.contains("nothing has changed") })
    #expect(try await rate() == "2.0 MiB/s")
    let path = scene.broker.directory + "/virtbrokerd.conf"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try text.replacing("max_upload_rate = \"1M\"", with: "max_upload_rate = \"3M\"").write(
      toFile: path, atomically: true, encoding: .utf8)
    scene.broker.signal(SIGHUP)
    #expect(eventually { scene.broker.log.contains("changed: max_upload_rate") })
    #expect(try await rate() == "3.0 MiB/s")
    try await scene.end()
  }
}
