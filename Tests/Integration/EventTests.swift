// Clients that wait for events get events of every family.
import Foundation
import Testing

@Suite("Events", Lab.isPossible, .inTurnFirst)
struct EventTests {
  /// An event, the commands that cause it repeatedly, and the output of virsh.
  struct Happening: Sendable, CustomTestStringConvertible {
    let wait: String
    let driver: String
    let causes: [String]
    let printed: String
    var testDescription: String { wait }
  }

  static let happenings = [
    Happening(
      wait: "event --domain watched --event lifecycle", driver: "qemu",
      causes: ["suspend watched", "resume watched"],
      printed: "event 'lifecycle' for domain 'watched': "),
    Happening(
      wait: "event --event metadata-change", driver: "qemu",
      causes: ["desc watched --live --title changed"],
      printed: "event 'metadata-change' for domain 'watched': type title"),
    Happening(
      wait: "qemu-monitor-event watched --event STOP", driver: "qemu",
      causes: ["suspend watched", "resume watched"], printed: "event STOP at "),
    Happening(
      wait: "pool-event --pool watched --event refresh", driver: "storage",
      causes: ["pool-refresh watched"], printed: "event 'refresh' for storage pool watched"),
    Happening(
      wait: "pool-event --event lifecycle", driver: "storage",
      causes: ["pool-define-as passing dir --target /nowhere", "pool-undefine passing"],
      printed: "event 'lifecycle' for storage pool passing: "),
    Happening(
      wait: "net-event --event lifecycle", driver: "network",
      causes: ["net-define $DIR/network.xml", "net-undefine watched"],
      printed: "event 'lifecycle' for network watched: "),
    Happening(
      wait: "secret-event --event lifecycle", driver: "secret",
      causes: [
        "secret-define $DIR/secret.xml", "secret-undefine 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d09",
      ],
      printed: "event 'lifecycle' for secret 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d09: "),
  ]

  // One after another, because the tests use the same few objects.
  @Test("a client that waits gets the event", .serialized, arguments: Place.all, happenings)
  func heard(_ place: Place, _ happening: Happening) async throws {
    let (lab, broker) = try await place.ready()
    let directory = try await prepare(lab)
    func words(_ line: String) -> [String] {
      line.replacing("$DIR", with: directory).split(separator: " ").map(String.init)
    }
    async let waiting = virsh(
      broker.uri(place.way), words(happening.wait) + ["--timeout", "60"])
    // virsh does not report when it is ready, so the event is caused repeatedly until it has arrived.
    let causing = Task {
      while !Task.isCancelled {
        for cause in happening.causes {
          _ = try await virsh(lab.directURI(happening.driver), words(cause))
        }
      }
    }
    let result = try await waiting
    causing.cancel()
    try await causing.value
    #expect(result.status == 0)
    #expect(result.output.contains(happening.printed))
    #expect(result.output.contains("events received: 1"))
    #expect(result.errors == "")
  }

  /// Creates the monitored guest and pool, and the files that the commands name.
  private func prepare(_ lab: Lab) async throws -> String {
    try await lab.guest("watched")
    let directory = lab.directory + "/events"
    guard !FileManager.default.fileExists(atPath: directory) else { return directory }
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true)
    try "<network><name>watched</name><bridge name='vbevents0'/></network>"
      .write(toFile: directory + "/network.xml", atomically: false, encoding: .utf8)
    try "<secret><uuid>0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d09</uuid></secret>"
      .write(toFile: directory + "/secret.xml", atomically: false, encoding: .utf8)
    try await lab.pool("watched")
    return directory
  }
}
