// Listening sockets: how they are created, refused and removed.
import Glibc
import Streams
import Testing

@testable import Broker

@Suite("Listeners")
struct ListenerTests {
  private let scratch: Scratch
  private let log = BrokerLog(threshold: .error) { _, _ in }

  init() throws { scratch = try Scratch() }

  private func broker(_ listeners: ListenerSettings...) throws -> Broker {
    var settings = BrokerSettings()
    settings.listeners = listeners
    return try Broker(settings: settings, log: log)
  }

  private func unix(_ name: String, mode: UInt32 = 0o700) -> ListenerSettings {
    ListenerSettings(.unix(path: "\(scratch.path)/\(name)", mode: mode, group: nil))
  }

  private func mode(_ name: String) -> UInt32? {
    var status = stat()
    guard stat("\(scratch.path)/\(name)", &status) == 0 else { return nil }
    return status.st_mode & 0o777
  }

  @Test("a socket gets its permissions and is removed with its broker")
  func permissions() throws {
    var broker: Broker? = try broker(unix("a", mode: 0o640), unix("b", mode: 0o777))
    #expect(mode("a") == 0o640)
    #expect(mode("b") == 0o777)
    #expect(broker?.listenerNames == ["\(scratch.path)/a", "\(scratch.path)/b"])
    broker = nil
    #expect(mode("a") == nil && mode("b") == nil)
  }

  @Test("a socket that another process is listening on is not replaced")
  func inUse() throws {
    let first = try broker(unix("a"))
    #expect(throws: BrokerFailure(.socketInUse, ["\(scratch.path)/a"])) {
      _ = try broker(unix("a"))
    }
    #expect(mode("a") == 0o700)
    withExtendedLifetime(first) {}
  }

  @Test("a stale socket is replaced; any other file of that name is not")
  func stale() throws {
    do {
      let left = Descriptor(socket(AF_UNIX, socketKind, 0))
      let address = try #require(Address.unix("\(scratch.path)/a"))
      #expect(address.withPointer { bind(left.number, $0, $1) } == 0)
    }
    let broker = try broker(unix("a"))
    #expect(mode("a") == 0o700)
    withExtendedLifetime(broker) {}
    scratch.touch("file")
    #expect(throws: BrokerFailure(.notASocket, ["\(scratch.path)/file"])) {
      _ = try self.broker(unix("file"))
    }
    #expect(mode("file") != nil)
  }

  @Test("a host name means all its addresses; the error names a port in use")
  func tcp() throws {
    let first = try broker(ListenerSettings(.tcp(host: "127.0.0.1", port: "0")))
    let name = try #require(first.listenerNames.first)
    #expect(name.hasPrefix("127.0.0.1:"))
    let port = String(name.dropFirst("127.0.0.1:".count))
    let inUse = BrokerFailure(.addressNotBound, ["127.0.0.1:\(port)", "Address already in use"])
    #expect(throws: inUse) {
      _ = try broker(ListenerSettings(.tcp(host: "127.0.0.1", port: port)))
    }
    let both = try broker(ListenerSettings(.tcp(host: nil, port: "0")))
    #expect(both.listenerNames.contains { $0.hasPrefix("0.0.0.0:") })
    #expect(throws: BrokerFailure.self) {
      _ = try broker(ListenerSettings(.tcp(host: "no.such.host.invalid", port: "0")))
    }
  }

  @Test("a broker without listeners does not start")
  func nothing() {
    #expect(throws: BrokerFailure(.nothingToListenOn)) { _ = try broker() }
  }
}
