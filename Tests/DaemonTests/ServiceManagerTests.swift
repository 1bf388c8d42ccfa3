// The program's notifications to its service manager, without systemd.
import Broker
import Foundation
import Streams
import Testing

@testable import virtbrokerd

@Suite("service manager")
struct ServiceManagerTests {
  /// A program, and the service manager's end of its notifications.
  private final class Service {
    let scratch: Scratch
    let manager: DatagramSocket
    let program: Program
    var told: [String] = []

    init() throws {
      scratch = try Scratch()
      manager = try DatagramSocket(boundTo: "\(scratch.path)/notify")
      program = try Program(
        ["-f", try scratch.configuration(), "-p", "\(scratch.path)/pid"],
        environment: ["NOTIFY_SOCKET": "\(scratch.path)/notify"])
    }

    func tells(_ text: String) -> Bool {
      eventually {
        told += manager.received()
        return told.contains(text)
      }
    }
  }

  @Test("it sends READY, the number of clients, RELOADING and READY around HUP, and STOPPING")
  func states() throws {
    let service = try Service()
    #expect(service.tells("READY=1\nSTATUS=0 clients connected"))
    #expect(service.told.count == 1)
    let client = try UnixSocket(connectedTo: "\(service.scratch.path)/libvirt-sock")
    #expect(service.tells("STATUS=1 client connected"))
    service.told = []
    service.program.signal(SIGHUP)
    #expect(service.tells("READY=1\nSTATUS=1 client connected"))
    let reloading = try #require(
      service.told.first?.wholeMatch(of: /RELOADING=1\nMONOTONIC_USEC=(\d+)/))
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let microseconds = try #require(Int(reloading.1))
    #expect(microseconds > 0 && microseconds / 1_000_000 <= now.tv_sec)
    service.program.signal(SIGTERM)
    #expect(service.tells("STOPPING=1\nSTATUS=stopping"))
    #expect(service.program.result().status == 0)
    withExtendedLifetime(client) {}
  }

  @Test("a drain is shown in the status, and STOPPING is sent only when the broker stops")
  func draining() throws {
    let service = try Service()
    #expect(service.tells("READY=1\nSTATUS=0 clients connected"))
    let client = try UnixSocket(connectedTo: "\(service.scratch.path)/libvirt-sock")
    #expect(service.tells("STATUS=1 client connected"))
    let administrator = try UnixSocket(connectedTo: "\(service.scratch.path)/libvirt-admin-sock")
    let drain = BrokerCall.drain(seconds: nil)
    administrator.send(
      Packets.make(
        PacketHeader(
          program: Streams.Program.broker, procedure: drain.procedure, kind: .call, serial: 1),
        arguments: drain.arguments))
    #expect(service.tells("STATUS=draining: 1 client connected"))
    #expect(!service.told.contains { $0.contains("STOPPING") })
    service.program.signal(SIGTERM)
    #expect(service.tells("STOPPING=1\nSTATUS=stopping"))
    #expect(service.program.result().status == 0)
    withExtendedLifetime((client, administrator)) {}
  }

  @Test("an abstract socket works, and notifications keep the watchdog's interval")
  func watchdog() throws {
    let scratch = try Scratch()
    let name = "@virtbroker-test-\(getpid())-\(scratch.path.suffix(6))"
    let manager = try DatagramSocket(boundTo: name)
    let program = try Program(
      ["-f", try scratch.configuration(), "-p", "\(scratch.path)/pid"],
      environment: ["NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"])
    var signs = 0
    #expect(
      eventually {
        signs += manager.received().count { $0 == "WATCHDOG=1" }
        return signs >= 4
      })
    // /proc has the environment that the program was started with.
    let environment = try String(
      contentsOfFile: "/proc/\(program.identifier)/environ", encoding: .utf8)
    #expect(environment.contains("NOTIFY_SOCKET="), "that is how it was started")
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("another process's watchdog is ignored; an invalid interval is logged and ignored")
  func watchdogTimes() {
    var said: [String] = []
    let log = BrokerLog(threshold: .debug) { said.append("\($1)") }
    func seconds(_ environment: [String: String]) -> Double? {
      ServiceManager.watchdogSeconds(environment, 7, log)
    }
    #expect(seconds([:]) == nil)
    #expect(seconds(["WATCHDOG_USEC": "2000000"]) == 2)
    #expect(seconds(["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"]) == 2)
    #expect(seconds(["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "8"]) == nil)
    #expect(said.isEmpty)
    #expect(seconds(["WATCHDOG_USEC": "soon"]) == nil)
    #expect(seconds(["WATCHDOG_USEC": "0"]) == nil)
    #expect(said.count == 2 && said.allSatisfy { $0.hasPrefix("VB-SYSD-011") })
    #expect(ServiceManager(environment: ["NOTIFY_SOCKET": "x"], process: 7, log: log) == nil)
    #expect(said.last == Message(.invalidNotifySocket, ["x"]).line)
  }
}
