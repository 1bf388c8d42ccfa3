// The signals HUP and USR1 to a running program.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("reloading")
struct ReloadingTests {
  private func started(_ scratch: Scratch, _ more: String = "") throws -> Program {
    let program = try Program(
      ["-f", try scratch.configuration(more), "-p", "\(scratch.path)/pid"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning, "\(scratch.read("log"))")
    return program
  }

  private func says(_ scratch: Scratch, _ text: String) -> Bool {
    eventually { scratch.read("log").contains(text) }
  }

  private func stop(_ program: Program) {
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("HUP applies settings that can change, and names those that cannot")
  func changes() throws {
    let scratch = try Scratch()
    let program = try started(scratch)
    let client = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    #expect(says(scratch, "client 1 (UNIX"))
    _ = try scratch.configuration(
      "max_clients_per_identity = 1\nkeepalive_interval = 7\nlisten_tcp = 1\nauth_tls = \"sasl\"")
    program.signal(SIGHUP)
    #expect(
      says(
        scratch,
        "VB-RUN-005: configuration reloaded; changed: max_clients_per_identity, "
          + "keepalive_interval\n"))
    let fixed = /: warning : VB-RUN-007: .*: listen_tcp, auth_tls\n/
    #expect(eventually { scratch.read("log").contains(fixed) })
    // Existing clients stay; another one of the same identity now exceeds the limit.
    let second = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    #expect(says(scratch, "VB-LIM-010 VB-LIM-004: client 2 (UNIX"))
    #expect(!scratch.read("log").contains("client 1 (UNIX, pid \(getpid()), uid 0) disconnected"))
    // Each reload reports the settings that still differ.
    program.signal(SIGHUP)
    #expect(
      eventually {
        scratch.read("log").split(separator: "\n").count { $0.hasSuffix("listen_tcp, auth_tls") }
          == 2
      })
    stop(program)
    withExtendedLifetime((client, second)) {}
  }

  @Test("a file with an error is refused with the reason, and the old settings stay")
  func refused() throws {
    let scratch = try Scratch()
    let program = try started(scratch, "max_clients_per_identity = 1")
    let path = try scratch.configuration("max_clients_per_identity = 0\nkeepalive_count = -1")
    program.signal(SIGHUP)
    #expect(
      says(
        scratch,
        ": error : VB-RUN-009 VB-CONF-005: configuration reload failed: \(path):6: keepalive_count: "
          + "expected a number from 0 to 4294967295, found the number -1; keeping the current settings\n"
      ))
    let first = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    let second = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    #expect(says(scratch, "VB-LIM-010 VB-LIM-004: "))
    // A missing file, and one with an output that cannot be opened, change nothing either.
    try FileManager.default.removeItem(atPath: path)
    program.signal(SIGHUP)
    #expect(says(scratch, "VB-RUN-009 VB-CONF-001: "))
    try scratch.write("virtbrokerd.conf", "log_outputs = \"1:file:/no/such/place\"")
    program.signal(SIGHUP)
    #expect(says(scratch, "VB-RUN-009 VB-LOG-004: "))
    #expect(scratch.read("log").contains("log file /no/such/place: "))
    _ = try scratch.configuration("max_clients_per_identity = 2")
    program.signal(SIGHUP)
    #expect(says(scratch, "changed: max_clients_per_identity\n"))
    stop(program)
    withExtendedLifetime((first, second)) {}
  }

  @Test("HUP reopens a log that was moved away, and applies its level and filters")
  func log() throws {
    let scratch = try Scratch()
    let program = try started(scratch)
    try FileManager.default.moveItem(
      atPath: "\(scratch.path)/log", toPath: "\(scratch.path)/log.1")
    program.signal(SIGHUP)
    #expect(says(scratch, "VB-RUN-006"))
    #expect(!scratch.read("log.1").contains("VB-RUN-006"))

    try scratch.write(
      "virtbrokerd.conf",
      scratch.read("virtbrokerd.conf").replacing("log_level = 2", with: "log_level = 4")
        + "\nlog_filters = \"1:netserverclient\"\n")
    program.signal(SIGHUP)
    let client = try logged(scratch)
    #expect(!scratch.read("log").contains("log_filters"), "that line is below the level now")
    stop(program)
    #expect(!scratch.read("log").contains("stopped"))
    withExtendedLifetime(client) {}
  }

  /// Connects a client. The log mentions its connection once the new filters are in use.
  private func logged(_ scratch: Scratch) throws -> UnixSocket {
    for _ in 0..<500 {
      let client = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
      for _ in 0..<20 {
        if scratch.read("log").contains(" (UNIX, ") { return client }
        usleep(2000)
      }
    }
    return try #require(nil, "no connection is mentioned in the log")
  }

  @Test(
    "USR1 logs clients, their identities, their backends and calls under way, at the default level")
  func state() throws {
    let scratch = try Scratch()
    let program = try started(scratch, "max_clients = 40")
    // A backend that accepts and never answers.
    let backend = try UnixSocket(listeningAt: "\(scratch.path)/backends/libvirt-sock")
    let client = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    client.send(UnixSocket.connectOpen)
    let upstream = try #require(backend.accepted())
    #expect(says(scratch, "client 1 (UNIX"))
    program.signal(SIGUSR1)
    let name = "client 1 (UNIX, pid \(getpid()), uid 0)"
    #expect(
      says(
        scratch,
        "VB-RUN-024: state: \(name): libvirtd at \(scratch.path)/backends/libvirt-sock"))
    let log = scratch.read("log")
    #expect(log.contains(": warning : VB-RUN-020: state: 1 of 40 clients\n"))
    #expect(
      log.contains(
        "VB-RUN-021: state: \(scratch.path)/libvirt-sock: accepting, 0 not authenticated (none)\n"))
    #expect(
      log.contains(
        "VB-RUN-022: state: \(name): opening, 0 bytes queued for it, 0 bytes received from it and "
          + "not relayed\n"))
    #expect(log.contains("VB-RUN-023: state: \(name): is "))
    #expect(log.contains("unix-user-id=0"))
    #expect(log.contains("'qemu:///system': listing authentication methods, "))
    stop(program)
    withExtendedLifetime(upstream) {}
  }
}
