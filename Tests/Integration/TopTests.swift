// virtbroker top, in a real terminal.
import Foundation
import Streams
import Synchronization
import Testing

/// A tmux terminal with its own server.
final class Terminal: Sendable {
  private let socket: String

  init(_ command: [String], columns: Int, lines: Int) async throws {
    socket = try Scratch.directory("t") + "/tmux"
    let line = command.map { "'\($0)'" }.joined(separator: " ")
    // The screen is also read after the program has ended.
    try await Command(
      "tmux", "-u", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-x", "\(columns)", "-y",
      "\(lines)", "\(line); echo it ended with $?; exec cat", ";", "set-option", "-g", "status",
      "off"
    ).output()
  }

  /// The lines of the screen, without trailing spaces.
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

  /// Waits for a screen that satisfies `fits`. Returns the last screen.
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
  /// A scene whose backend opens downloads and holds all other calls, with a client and `top` in a window.
  private func top(
    columns: Int, lines: Int, _ options: String...,
    body: (Scene, RawClient, Terminal) async throws -> Void
  ) async throws {
    let held = Held()
    let scene = try await Scene(held: held) { line, packet in
      guard packet.header.kind == .call else { return true }
      return packet.header.procedure == Remote.storageVolDownload ? false : held.keep(line, packet)
    }
    let client = try await blocking {
      let client = try scene.broker.client()
      try client.open()
      return client
    }
    let terminal = try await Terminal(
      [Tool.executable, "top", "--interval", "0.2", "--socket", scene.broker.admin.path] + options,
      columns: columns, lines: lines)
    try await body(scene, client, terminal)
    try await terminal.press("q")
    let screen = try await terminal.screen { $0.contains { $0.contains("it ended with") } }
    #expect(screen.first == "it ended with 0", "what was on the screen before is there again")
    try await terminal.close()
    try await scene.end()
  }

  private func words(_ line: Substring) -> String {
    line.split(separator: " ").joined(separator: " ")
  }

  @Test("in 80 columns and 24 lines: streams by rate, other sort orders, clients, calls and help")
  func views() async throws {
    try await top(columns: 80, lines: 24) { scene, client, terminal in
      var screen = try await terminal.screen { $0.contains { $0.hasPrefix("no streams") } }
      #expect(screen[0].hasPrefix("virtbrokerd 0.1.0, pid \(scene.broker.pid), up "))
      #expect(screen[1] == "clients 1/5000  streams 0  calls 0  moving 0 B/s")
      #expect(words(screen[2]) == "[1 Streams] 2 Clients 3 Calls 0, by RATE/S")
      #expect(
        words(screen[3]) == "STREAM IDENTITY USER KIND OBJECT UP DOWN RATE/S▼ AGE PAUSED BY")
      #expect(screen[23].hasPrefix("1-3/Tab View  </> Sort") && screen[23].contains("q Quit"))

      let streams = try await blocking {
        try (0..<12).map { number in
          try client.openStream(Remote.storageVolDownload, pool: "pool", volume: "disk\(number)")
        }
      }
      let data = RawClient.packet(streams[7], [UInt8](repeating: 1, count: 1000))
      try client.send(Packets.make(client.header(59)))
      // The fastest stream is first, whatever its number.
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
        lines.count > 15 && lines[1].contains("streams 12  calls 1 (oldest ")
          && lines[4].contains("pool/disk7")
      }
      #expect(
        words(screen[4]).contains("/\(streams[7].serial) uid 0 root download pool/disk7 0 "))
      #expect(screen.allSatisfy { $0.count <= 80 })
      isOver.store(true, ordering: .relaxed)
      _ = await flow.result

      // Sorted by age, the oldest first, then reversed; then reversed by the object column.
      try await terminal.press(">")
      screen = try await terminal.screen { $0[3].contains("AGE▼") && $0[4].contains("pool/disk0") }
      try await terminal.press("r")
      screen = try await terminal.screen { $0[3].contains("AGE▲") && $0[4].contains("pool/disk11") }
      try await terminal.press("Left", "Left", "Left", "Left")
      screen = try await terminal.screen {
        $0[3].contains("OBJECT▲") && $0[4].contains("pool/disk0")
      }

      try await terminal.press("2")
      screen = try await terminal.screen { $0[3].hasPrefix("CLIENT") && $0[4].contains("uid 0") }
      #expect(words(screen[3]).hasPrefix("CLIENT IDENTITY FROM "), "\(screen[3])")
      #expect(words(screen[3]).contains("CALLS STREAMS QUEUED RATE/S▼"), "\(screen[3])")
      #expect(words(screen[4]).contains(" 1 12 0 "), "its calls, streams and bytes: \(screen[4])")
      #expect(words(screen[2]).hasPrefix("1 Streams [2 Clients] 3 Calls"))

      try await terminal.press("Tab")
      screen = try await terminal.screen { $0[3].contains("PROCEDURE") }
      #expect(screen[4].contains("CONNECT_GET_HOSTNAME") && screen[4].contains("libvirtd"))
      #expect(screen[3].hasSuffix("AGE▼") || words(screen[3]).hasSuffix("AGE▼"))

      try await terminal.press("h")
      screen = try await terminal.screen { $0.contains { $0.contains("sort by the column") } }
      #expect(screen.allSatisfy { $0.count <= 80 } && screen[23].hasPrefix("any key: back"))
      try await terminal.press("x")
      _ = try await terminal.screen { $0[3].contains("PROCEDURE") }
    }
  }

  @Test("long lists scroll, long names are cut, and a narrow window keeps the important columns")
  func room() async throws {
    try await top(columns: 80, lines: 16, "--sort", "age") { scene, client, terminal in
      let name = String(repeating: "long-", count: 20)
      try await blocking {
        for number in 10..<40 {
          _ = try client.openStream(
            Remote.storageVolDownload, pool: "\(number)-\(name)", volume: name)
        }
      }
      var screen = try await terminal.screen { $0[2].contains("1-11 of 30, by AGE") }
      #expect(screen[4].contains(" 10-long") && screen[14].contains(" 20-long"))
      #expect(screen.allSatisfy { $0.count <= 80 }, "\(screen)")
      let titles = "STREAM IDENTITY KIND OBJECT UP DOWN RATE/S AGE▼ PAUSED BY"
      #expect(words(screen[3]) == titles)
      #expect(screen[4].contains("…"))

      try await terminal.press("Down")
      screen = try await terminal.screen { $0[2].contains("2-12 of 30") }
      #expect(screen[4].contains(" 11-long"))
      try await terminal.press("NPage", "NPage", "NPage")
      screen = try await terminal.screen { $0[2].contains("20-30 of 30") }
      #expect(screen[14].contains(" 39-long"))
      try await terminal.press("PPage")
      _ = try await terminal.screen { $0[2].contains("9-19 of 30") }
      try await terminal.press("Home")
      _ = try await terminal.screen { $0[2].contains("1-11 of 30") }

      try await terminal.resize(columns: 50, lines: 40)
      screen = try await terminal.screen { $0.count > 39 && $0[39].contains("q Quit") }
      #expect(screen.allSatisfy { $0.count <= 50 }, "lines are cut, not wrapped: \(screen)")
      #expect(
        words(screen[3]) == "STREAM IDENTITY OBJECT UP DOWN RATE/S AGE▼"
          || words(screen[3]) == "STREAM IDENTITY KIND OBJECT UP DOWN RATE/S AGE▼", "\(screen[3])")
    }
  }

  @Test("the display can be paused, and view and sort order can be given as options")
  func choices() async throws {
    try await top(columns: 80, lines: 24, "--view", "calls", "--sort", "client") {
      scene, client, terminal in
      _ = try await terminal.screen { $0[3].hasPrefix("CLIENT▼") }
      try await terminal.press("p")
      _ = try await terminal.screen { $0[0].contains("display paused") }
      try client.send(Packets.make(client.header(59)))
      try await blocking { try scene.held.await(1) }
      // Later than any refresh of a display that is not paused.
      try await Task.sleep(for: .milliseconds(600))
      #expect(try await terminal.screen()[1].contains("calls 0"))
      try await terminal.press("p")
      _ = try await terminal.screen { $0[1].contains("calls 1") }
    }
    let wrong = try await Command(Tool.executable, "top", "--sort", "colour").run()
    #expect(wrong.status == 64)
    #expect(
      wrong.errors.contains("streams have no column 'colour'; expected one of stream, identity"))
  }

  @Test("without a terminal pages are printed one after another, as text or as JSON")
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
      #expect(Set(view.keys) == ["status", "streams", "clients", "calls"])
    }
    try await scene.end()
  }
}
