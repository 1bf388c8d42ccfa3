// The program virtbroker, with brokers that have streams and calls under way.
import Foundation
import Streams
import Testing

/// The built program, connected to a broker.
struct Tool: Sendable {
  let broker: BrokerProcess

  static let executable =
    URL(fileURLWithPath: BrokerProcess.executable).deletingLastPathComponent().path + "/virtbroker"

  func run(_ arguments: String...) async throws -> CommandResult { try await run(arguments) }

  func run(_ arguments: [String]) async throws -> CommandResult {
    try await Command([Tool.executable] + arguments + ["--socket", broker.admin.path]).run()
  }

  /// The rows of a table, with values by column title. Two spaces separate the cells.
  func table(_ arguments: String...) async throws -> [[String: String]] {
    let text = try await Command([Tool.executable] + arguments + ["--socket", broker.admin.path])
      .output()
    return Tool.table(text.split(separator: "\n", omittingEmptySubsequences: false))
  }

  static func table(_ lines: [Substring]) -> [[String: String]] {
    guard let first = lines.first else { return [] }
    let titles = cells(first)
    return lines.dropFirst().prefix { !$0.isEmpty }.map {
      Dictionary(zip(titles, cells($0)), uniquingKeysWith: { one, _ in one })
    }
  }

  private static func cells(_ line: Substring) -> [String] {
    line.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { !$0.isEmpty }
  }

  func json(_ arguments: String...) async throws -> Any {
    let text = try await Command(
      [Tool.executable] + arguments + ["--json", "--socket", broker.admin.path]
    ).output()
    return try JSONSerialization.jsonObject(with: Data(text.utf8))
  }

  func rows(_ command: String) async throws -> [[String: Any]] {
    try #require(try await json(command) as? [[String: Any]])
  }
}

@Suite("virtbroker")
struct ToolTests {
  /// A backend that opens streams and holds all other calls.
  private func scene(settings: [String] = []) async throws -> Scene {
    let held = Held()
    return try await Scene(settings: settings, held: held) { line, packet in
      guard packet.header.kind == .call else { return true }
      switch packet.header.procedure {
      case Remote.storageVolDownload, Remote.storageVolUpload, Remote.domainOpenConsole:
        return false
      default: return held.keep(line, packet)
      }
    }
  }

  @Test("a download is listed with its owner, object, bytes and state")
  func streams() async throws {
    let scene = try await scene()
    let tool = Tool(broker: scene.broker)
    #expect(try await tool.rows("streams").isEmpty)
    let (client, stream) = try await blocking {
      let client = try scene.broker.client()
      try client.open()
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: "po\u{1b}[31mol", volume: "disk.img")
      let data = RawClient.packet(stream, [UInt8](repeating: 1, count: 100_000))
      for _ in 0..<3 { try scene.backend.line(0).send(data) }
      for _ in 0..<3 { #expect(try client.receive()?.body.count == 100_000) }
      return (client, stream)
    }

    let row = try #require(try await tool.rows("streams").first)
    let id = try #require(row["stream"] as? String)
    #expect(id == "\(try #require(row["client"] as? Int))/\(stream.serial)")
    #expect(row["identity"] as? String == "uid \(getuid())")
    #expect(row["user"] as? String == "root")
    #expect(row["procedure"] as? String == "STORAGE_VOL_DOWNLOAD")
    #expect(row["object"] as? String == "po\u{1b}[31mol/disk.img", "JSON has the name as it is")
    #expect(row["object_type"] as? String == "volume")
    #expect(row["direction"] as? String == "download")
    #expect(row["state"] as? String == "open")
    #expect(row["bytes_down"] as? Int == 300_000)
    #expect(row["bytes_up"] as? Int == 0)
    #expect((row["bytes_per_second"] as? Double) == 0, "nothing moves just now")
    #expect(try #require(row["age_seconds"] as? Double) > 0)
    #expect(row["paused_by"] == nil)

    let shown = try #require(try await tool.table("streams", "--interval", "0").first)
    #expect(shown["STREAM"] == id)
    #expect(shown["OBJECT"] == "po\\u{1b}[31mol/disk.img", "a terminal is not told what to do")
    #expect(shown["DOWN"] == "293.0 KiB")
    #expect(shown["PAUSED BY"] == "-")
    withExtendedLifetime(client) {}
    try await scene.end()
  }

  @Test(
    "a stream whose destination does not read is shown as paused, with the side that pauses it",
    arguments: [true, false])
  func paused(byClient: Bool) async throws {
    let scene = try await scene(settings: ["max_client_buffer = 65536"])
    let (client, line, packet) = try await blocking {
      let client = try scene.broker.client()
      try client.open()
      let stream = try client.openStream(
        byClient ? Remote.storageVolDownload : Remote.storageVolUpload, pool: "p", volume: "v")
      let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: 200_000))
      return (client, try scene.backend.line(0), packet)
    }
    line.isPausing = !byClient
    // Much more than the kernel's buffers of both sockets.
    let sender = Task {
      try await blocking {
        for _ in 0..<100 { if byClient { try line.send(packet) } else { try client.send(packet) } }
      }
    }
    let tool = Tool(broker: scene.broker)
    var cause: String?
    for _ in 0..<100 where cause == nil {
      cause = try await tool.table("streams", "--interval", "0").first?["PAUSED BY"]
      if cause == "-" { cause = nil }
    }
    #expect(cause == (byClient ? "client" : "backend"))
    client.vanish()
    line.hangUp()
    _ = await sender.result
    try await scene.end()
  }

  @Test("a hanging call is listed with its name, daemon and age until it is answered")
  func calls() async throws {
    let scene = try await scene()
    let tool = Tool(broker: scene.broker)
    let client = try await blocking {
      let client = try scene.broker.client(.tcp)
      try client.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      return client
    }
    let row = try #require(try await tool.rows("calls").first)
    #expect(row["procedure"] as? String == "CONNECT_GET_HOSTNAME")
    #expect(row["daemon"] as? String == "libvirtd")
    #expect(row["identity"] == nil, "nothing proves one")
    let address = try #require(row["address"] as? String)
    #expect(address.hasPrefix("127.0.0.1:"))
    #expect(try await tool.table("calls").first?["IDENTITY"] == "(\(address))")
    let first = try #require(row["age_seconds"] as? Double)
    try await Task.sleep(for: .milliseconds(50))
    let second = try #require(try await tool.rows("calls").first?["age_seconds"] as? Double)
    #expect(second > first)
    #expect(try await tool.table("calls").map { $0["PROCEDURE"] } == ["CONNECT_GET_HOSTNAME"])

    let clients = try await tool.rows("clients")
    #expect(clients.count == 1)
    #expect(clients.first?["calls"] as? Int == 1)
    #expect(clients.first?["transport"] as? String == "tcp")
    #expect(clients.first?["uri"] as? String == "qemu:///system")
    try scene.held.answer()
    _ = try client.receive()
    #expect(try await tool.rows("calls").isEmpty)
    try await scene.end()
  }

  @Test("clients on several pages are all listed, each once")
  func pages() async throws {
    let scene = try await scene()
    let clients = try await blocking {
      let clients = try (0..<300).map { _ in try scene.broker.client() }
      for client in clients { try client.call(Remote.authList) }
      return clients
    }
    let tool = Tool(broker: scene.broker)
    let ids = try await tool.rows("clients").compactMap { $0["client"] as? Int }
    #expect(ids.count == 300)
    #expect(ids == Set(ids).sorted())
    let status = try #require(try await tool.json("status") as? [String: Any])
    #expect(status["clients"] as? Int == 300)
    #expect(status["administrators"] as? Int == 1)
    withExtendedLifetime(clients) {}
    try await scene.end()
  }

  @Test("status describes the broker as text and as JSON")
  func status() async throws {
    let scene = try await scene(settings: ["max_clients = 77", "max_anonymous_clients = 7"])
    let tool = Tool(broker: scene.broker)
    let status = try #require(try await tool.json("status") as? [String: Any])
    #expect(status["pid"] as? Int == Int(scene.broker.pid))
    #expect(status["clients_max"] as? Int == 77)
    #expect((status["listeners"] as? String)?.contains("\(scene.broker.port)") == true)
    let text = try await tool.run("status")
    #expect(text.output.contains("clients         0 of at most 77\n"))
    try await scene.end()
  }

  @Test("a stream that is killed ends for both sides, and the connection remains usable")
  func kill() async throws {
    let scene = try await scene()
    let tool = Tool(broker: scene.broker)
    let (client, stream) = try await blocking {
      let client = try scene.broker.client()
      try client.open()
      return (client, try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v"))
    }
    let data = RawClient.packet(stream, [1, 2, 3])
    try client.send(data)
    let id = try #require(try await tool.rows("streams").first?["stream"] as? String)
    let done = try await tool.run("kill-stream", id, "--reason", "the disk is needed")
    #expect(done.output == "stream \(id) was ended\n")

    let told = try client.receive("the end of the stream") { $0.header.kind == .stream }
    #expect(told.header.serial == stream.serial && told.header.status == .error)
    #expect(told.error?.message?.contains("ended by an administrator: the disk is needed") == true)
    try await blocking {
      try scene.backend.line(0).await("the abort") { packets in
        packets.contains { $0.header.kind == .stream && $0.header.status == .error }
      }
    }
    #expect(try await tool.rows("streams").isEmpty)
    // The client's later packets of the stream are dropped; its next call is forwarded.
    let before = try scene.backend.line(0).receivedBytes
    var finish = stream
    finish.status = .ok
    try client.send(data + Packets.make(finish) + Packets.make(client.header(59)))
    try await blocking { try scene.held.await(1) }
    #expect(try scene.backend.line(0).receivedBytes == before + Limits.header)

    let again = try await tool.run("kill-stream", id)
    #expect(again.status == 1 && again.errors.contains("has no stream \(id)"))
    #expect(again.errors.hasPrefix("virtbroker: VB-TOOL-014: "))
    let unknown = try await tool.run("kill-stream", "999/1")
    #expect(unknown.status == 1 && unknown.errors.contains("No client with matching ID '999'"))
    let nonsense = try await tool.run("kill-stream", "abc")
    #expect(nonsense.status == 64 && nonsense.errors.contains("CLIENT/SERIAL"))
    #expect(
      eventually {
        scene.broker.log.contains(
          /VB-ADMIN-016 VB-ADMIN-018: client .*: the stream was ended by an administrator: the disk is needed/
        )
      })
    try await scene.end()
  }

  @Test("--version of each program prints the same version, and those of its libraries")
  func versions() async throws {
    let daemon = try await Command(BrokerProcess.executable, "--version").output()
    let version = try #require(daemon.firstMatch(of: /\(virtbroker\) ([0-9.]+)\n/)).1
    #expect(daemon.contains("GnuTLS ") && daemon.contains("libev ") && daemon.contains("SASL "))
    #expect(
      try await Command(Tool.executable, "--version").output()
        == "virtbroker (virtbroker) \(version)\n")
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../..").standardizedFileURL.path
    let pki = try await Command(root + "/scripts/virtbroker-pki", "--version").output()
    #expect(pki.hasPrefix("virtbroker-pki (virtbroker) \(version)\ncerttool "), "\(pki)")
  }

  @Test("--socket may precede or follow the subcommand")
  func socketFirst() async throws {
    let scene = try await scene()
    let path = scene.broker.admin.path
    for arguments in [
      ["--socket", path, "clients", "--json"], ["clients", "--json", "--socket", path],
      ["--socket=\(path)", "clients", "--json"], ["--socket", path, "limit", "upload", "--json"],
    ] {
      let result = try await Command([Tool.executable] + arguments).run()
      #expect(result.status == 0 && result.output.hasPrefix("["), "\(arguments): \(result)")
    }
    try await scene.end()
  }

  @Test("if there is no socket at the default path, the error names sockets found elsewhere")
  func hint() async throws {
    try #require(getuid() == 0, "needs root")
    let scene = try await scene()
    // A private /run that contains a user's broker.
    let run = try Scratch.directory("r")
    func status() async throws -> CommandResult {
      try await Command(
        "unshare", "--mount", "--propagation", "private", "sh", "-c",
        "mount --bind '\(run)' /run && exec '\(Tool.executable)' status"
      ).run()
    }
    var result = try await status()
    #expect(result.status == 1)
    #expect(
      result.errors.contains(
        "virtbroker: VB-TOOL-003 VB-TOOL-004: cannot connect to '/run/libvirt/libvirt-admin-sock': "
          + "No such file or directory; "),
      "\(result.errors)")
    let user = "\(run)/user/1000/libvirt"
    try FileManager.default.createDirectory(atPath: user, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: "\(user)/virtbroker-admin-sock", withDestinationPath: scene.broker.admin.path)
    result = try await status()
    #expect(result.status == 1)
    #expect(
      result.errors.hasPrefix("virtbroker: VB-TOOL-003 VB-TOOL-005: ")
        && result.errors.contains("--socket '/run/user/1000/libvirt/virtbroker-admin-sock'"),
      "\(result.errors)")
    try await scene.end()
  }

  @Test("the error says if no broker answers, or if another program does")
  func wrongSocket() async throws {
    let none = try await Command(Tool.executable, "status", "--socket", "/nonexistent/sock").run()
    #expect(none.status == 1)
    #expect(none.errors.hasPrefix("virtbroker: VB-TOOL-003: cannot connect to '/nonexistent/sock'"))
    let scene = try await scene()
    let wrong = try await Command(
      Tool.executable, "status", "--socket", scene.broker.directory + "/libvirt-sock"
    ).run()
    #expect(wrong.status == 1)
    #expect(wrong.errors.hasPrefix("virtbroker: VB-TOOL-009: "))
    try await scene.end()
  }

  @Test("kill-stream ends a real console and download cleanly for virsh", Lab.isPossible)
  func virsh() async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    let tool = Tool(broker: broker)
    let guest = "ended-console"
    try await lab.startGuest(guest)
    let script = "\(Lab.folder)/python/ended.py"
    let running = Task {
      try await Command("/usr/bin/python3", "-u", script, broker.unixURI(), guest).run()
    }
    var row: [String: Any]?
    while row == nil, !Task.isCancelled {
      // The whole echo has arrived; the script waits for it.
      row = try await tool.rows("streams").first {
        $0["object"] as? String == guest && ($0["bytes_down"] as? Int ?? 0) >= "here I am".count
      }
    }
    #expect(row?["procedure"] as? String == "DOMAIN_OPEN_CONSOLE")
    #expect(row?["direction"] as? String == "both")
    #expect(row?["kind"] as? String == "console")
    _ = try await tool.run("kill-stream", try #require(row?["stream"] as? String))
    let result = try await running.value
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output == "ended by an administrator, and the connection goes on\n")
    try await broker.stop()
  }
}
