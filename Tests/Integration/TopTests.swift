// virtbroker top, in a real terminal.
import Foundation
import Streams
import Synchronization
import Testing

/// A terminal of tmux's, on a server of its own.
final class Terminal: Sendable {
  private let socket: String

  init(_ command: [String], columns: Int, lines: Int) async throws {
    socket = try Scratch.directory("t") + "/tmux"
    let line = command.map { "'\($0)'" }.joined(separator: " ")
    // What the program leaves on the screen is looked at after its end as well.
    try await Command(
      "tmux", "-u", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-x", "\(columns)", "-y",
      "\(lines)", "\(line); echo it ended with $?; exec cat", ";", "set-option", "-g", "status",
      "off"
    ).output()
  }

  /// What is on the screen, without the blanks behind.
  func screen() async throws -> [Substring] {
    try await Command("tmux", "-u", "-S", socket, "capture-pane", "-p").output()
      .split(separator: "\n", omittingEmptySubsequences: false)
  }

  func press(_ keys: String...) async throws {
    try await Command(["tmux", "-u", "-S", socket, "send-keys"] + keys).output()
  }

  func resize(columns: Int, lines: Int) async throws {
    try await Command(
      "tmux", "-u", "-S", socket, "resize-window", "-x", "\(columns)", "-y", "\(lines)"
    ).output()
  }

  /// Waits for a screen that fits; the last one there was.
  func screen(where fits: ([Substring]) -> Bool) async throws -> [Substring] {
    var last: [Substring] = []
    for _ in 0..<200 {
      last = try await screen()
      if fits(last) { return last }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw Trouble("the screen never became what was waited for:\n\(last.joined(separator: "\n"))")
  }

  func close() async throws {
    _ = try await Command("tmux", "-u", "-S", socket, "kill-server").run()
  }
}

@Suite("virtbroker top", .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/tmux")))
struct TopTests {
  @Test("shows streams and calls as they come and go, fits its window, and leaves no trace")
  func screen() async throws {
    let held = Held()
    let scene = try await Scene(held: held) { line, packet in
      guard packet.header.kind == .call else { return true }
      return packet.header.procedure == Remote.storageVolDownload ? false : held.keep(line, packet)
    }
    let broker = scene.broker
    let client = try await blocking {
      let client = try broker.client()
      try client.open()
      return client
    }
    let terminal = try await Terminal(
      [Tool.executable, "top", "--interval", "0.2", "--socket", broker.admin.path], columns: 150,
      lines: 16)
    var screen = try await terminal.screen { $0.count > 3 && $0[3].hasPrefix("STREAM") }
    #expect(screen[0].hasPrefix("virtbrokerd 0.1.0, pid \(broker.pid), up "))
    #expect(screen[1] == "clients 1/5000  streams 0  calls 0  moving 0 B/s")
    #expect(screen[2].isEmpty)
    #expect(
      screen[3].split(separator: " ").joined(separator: " ")
        == "STREAM IDENTITY PROCEDURE OBJECT DIRECTION STATE UP DOWN RATE AGE PAUSED BY")
    #expect(screen[4].isEmpty)
    #expect(
      screen[5].split(separator: " ").joined(separator: " ")
        == "CLIENT SERIAL IDENTITY PROCEDURE OBJECT DAEMON AGE")

    let streams = try await blocking {
      try (0..<12).map { number in
        try client.openStream(Remote.storageVolDownload, pool: "pool", volume: "disk\(number)")
      }
    }
    let data = RawClient.packet(streams[7], [UInt8](repeating: 1, count: 1000))
    try client.send(Packets.make(client.header(59)))
    // The fastest is at the top, whatever its number.
    let isOver = Atomic(false)
    let flow = Task {
      try await blocking {
        while !isOver.load(ordering: .relaxed) {
          try scene.backend.line(0).send(data)
          _ = try client.receive()
          usleep(2000)
        }
      }
    }
    screen = try await terminal.screen { lines in
      lines.contains { $0.contains("CONNECT_GET_HOSTNAME") }
        && lines.count > 4 && lines[4].contains("pool/disk7") && lines[4].contains("KiB/s")
    }
    let rows = Tool.table(Array(screen[3...]))
    #expect(rows.count == 8, "seven streams and how many more there are: \(screen)")
    #expect(rows[0]["STREAM"]?.hasSuffix("/\(streams[7].serial)") == true)
    #expect(rows[0]["STATE"] == "open")
    #expect(rows[0]["UP"] == "0 B")
    #expect(rows[1]["RATE"] == "0 B/s")
    #expect(screen[11] == "… and 5 more")
    #expect(screen[1].hasPrefix("clients 1/5000  streams 12  calls 1  moving "))
    #expect(
      Tool.table(Array(screen[13...])).first?["PROCEDURE"] == "CONNECT_GET_HOSTNAME")

    try await terminal.resize(columns: 60, lines: 40)
    screen = try await terminal.screen {
      $0.count { $0.contains("pool/") || $0.contains("/") } > 12
    }
    #expect(screen.allSatisfy { $0.count <= 60 }, "lines are cut, not wrapped")
    isOver.store(true, ordering: .relaxed)
    _ = await flow.result

    try await terminal.press("q")
    screen = try await terminal.screen { $0.contains { $0.contains("it ended with") } }
    #expect(screen.first == "it ended with 0", "what was on the screen before is there again")
    try await terminal.close()
    try await scene.end()
  }

  @Test("without a terminal one page follows the other, as text or as JSON")
  func pages() async throws {
    let scene = try await Scene.holding()
    let tool = Tool(broker: scene.broker)
    let text = try await tool.run("top", "--count", "2", "--interval", "0.1")
    #expect(text.output.components(separatedBy: "virtbrokerd 0.1.0").count == 3)
    #expect(!text.output.contains("\u{1b}"))
    let json = try await tool.run("top", "--count", "2", "--interval", "0.1", "--json")
    let lines = json.output.split(separator: "\n")
    #expect(lines.count == 2)
    for line in lines {
      let view = try #require(
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(Set(view.keys) == ["status", "streams", "calls"])
    }
    try await scene.end()
  }
}
