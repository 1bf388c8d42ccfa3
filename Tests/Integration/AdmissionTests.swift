// One local user, or one address, that opens many connections to exclude others.
import Foundation
import Streams
import Testing

@Suite("A client that floods a listener", .inTurn)
struct AdmissionTests {
  private static let attacker = 65_534

  private func scene(_ settings: [String]) async throws -> Scene {
    let scene = try await Scene(
      settings: settings + ["unix_sock_rw_perms = \"0777\"", "unix_sock_ro_perms = \"0777\""],
      realm: try await PasswordRealm.make("PLAIN"))
    for path in [Scratch.root, scene.broker.directory] where chmod(path, 0o755) != 0 {
      throw Trouble("chmod: \(errnoText())")
    }
    return scene
  }

  @Test("a user's silent connections exclude neither root nor a user without connections")
  func localUser() async throws {
    let scene = try await scene(["auth_unix_rw = \"sasl\"", "max_anonymous_clients = 20"])
    let broker = scene.broker
    let place = "unix:\(broker.directory)/libvirt-sock"
    try await blocking {
      let silent = try OtherUser(Self.attacker, place, count: 100)
      #expect(eventually { broker.log.contains("max_anonymous_clients (20) is reached by") })
      let root = try broker.client()
      #expect(try root.call(Remote.authList, within: 1).header.status == .ok)
      try root.mustLogIn()
      try root.open()
      let other = try OtherUser(7, place, count: 1, asks: true)
      // Root has authenticated on its first connection, so it has no unauthenticated connection.
      let again = try RawClient(unix: broker.directory + "/libvirt-sock")
      #expect(try again.call(Remote.authList, within: 1).header.status == .ok)
      withExtendedLifetime((silent, other)) {}
    }
    #expect(
      eventually {
        broker.logs("VB-LIM-005", "uid \(Self.attacker) ")
      })
    try await scene.end()
  }

  @Test("connections from one address exclude no other address")
  func address() async throws {
    let scene = try await scene(["auth_tcp = \"sasl\"", "max_anonymous_clients = 20"])
    let broker = scene.broker
    try await blocking {
      let silent = try OtherUser(Self.attacker, "tcp:\(broker.port):127.0.0.9", count: 100)
      #expect(eventually { broker.log.contains("max_anonymous_clients (20) is reached by") })
      let client = try broker.client(.tcp)
      #expect(try client.call(Remote.authList, within: 5).header.status == .ok)
      withExtendedLifetime(silent) {}
    }
    try await scene.end()
  }

  @Test("a user with max_clients connections does not exclude root without a client")
  func allPlaces() async throws {
    let scene = try await scene(["max_clients = 5", "max_anonymous_clients = 5"])
    let broker = scene.broker
    try await blocking {
      let clients = try OtherUser(
        Self.attacker, "unix:\(broker.directory)/libvirt-sock-ro", count: 20)
      #expect(eventually { broker.log.contains("max_clients (5) is reached by") })
      let root = try broker.client()
      try root.open()
      let second = try broker.client()
      try second.send(Packets.make(second.header(Remote.authList)))
      #expect(second.receiveAll(for: 0.3).isEmpty, "one beyond the limit is enough")
      withExtendedLifetime(clients) {}
      #expect(try root.call(59).header.status == .ok)
    }
    try await scene.end()
  }
}
