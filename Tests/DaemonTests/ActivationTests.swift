// Sockets that a service manager passes to the broker.
import Broker
import Foundation
import Testing

@testable import virtbrokerd

@Suite("socket activation")
struct ActivationTests {
  /// Does what systemd does: binds sockets, moves them behind the standard descriptors, names them, and executes the
  /// program. Arguments: the directory, the value of LISTEN_FDNAMES or `-`, then the program's arguments.
  private static let launcher = """
    import os, socket, sys
    directory, names = sys.argv[1:3]
    sockets = []
    for index, name in enumerate(names.split(':')):
        network = '-tcp' in name or '-tls' in name
        s = socket.socket(socket.AF_INET if network else socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(('127.0.0.1', 0) if network else f'{directory}/s{index}')
        if 'deaf' not in directory:
            s.listen(8)
        sockets.append(os.dup2(s.fileno(), 100 + index))
    for index, number in enumerate(sockets):
        os.dup2(number, 3 + index)
        os.set_inheritable(3 + index, True)
    os.closerange(3 + len(sockets), 200)
    os.environ['LISTEN_PID'] = str(os.getpid() + int(os.environ.get('OFF_BY', '0')))
    os.environ['LISTEN_FDS'] = str(len(sockets))
    os.environ['LISTEN_FDNAMES'] = os.environ.get('NAMES', names)
    os.execv(sys.argv[3], sys.argv[3:])
    """

  private func program(
    _ scratch: Scratch, _ names: String, _ more: String = "", environment: [String: String] = [:],
    directory: String? = nil
  ) throws -> Program {
    try Program(
      [
        "-c", Self.launcher, directory ?? scratch.path, names, Program.path, "-f",
        try scratch.configuration(more), "-p", "\(scratch.path)/pid",
      ], environment: environment, program: "/usr/bin/python3")
  }

  @Test(
    "the broker accepts clients on passed sockets with either daemon's names, and creates no sockets",
    arguments: ["virtproxyd", "virtbrokerd"])
  func serves(daemon: String) throws {
    let scratch = try Scratch()
    let names = ["", "-ro", "-admin", "-tcp", "-tcp"].map { "\(daemon)\($0).socket" }
    // The file's listener settings apply only without passed sockets.
    let program = try program(
      scratch, names.joined(separator: ":"),
      "listen_tcp = 1; listen_addr = \"192.0.2.1\"; auth_tcp = \"none\"")
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning, "\(scratch.read("log"))")
    let client = try UnixSocket(connectedTo: "\(scratch.path)/s0")
    let reader = try UnixSocket(connectedTo: "\(scratch.path)/s1")
    #expect(eventually { scratch.read("log").contains("connected to \(scratch.path)/s1") })
    let log = scratch.read("log")
    #expect(log.contains("listening on \(scratch.path)/s0\n"))
    #expect(log.contains("listening on \(scratch.path)/s1 (read-only)\n"))
    #expect(log.split(separator: "\n").count { $0.contains("listening on 127.0.0.1:") } == 2)
    #expect(!scratch.exists("libvirt-sock"))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
    #expect(scratch.exists("s0") && scratch.exists("s1"), "their files are the manager's")
    withExtendedLifetime((client, reader)) {}
  }

  @Test("with a timeout the program exits after its last client, and not before")
  func timeout() throws {
    let scratch = try Scratch()
    let program = try Program(
      [
        "-c", Self.launcher, scratch.path, "virtbrokerd.socket", Program.path, "-t", "1", "-f",
        try scratch.configuration(), "-p", "\(scratch.path)/pid",
      ], program: "/usr/bin/python3")
    #expect(eventually { scratch.exists("s0") && scratch.read("log").contains("is ready") })
    do {
      let client = try UnixSocket(connectedTo: "\(scratch.path)/s0")
      usleep(1_500_000)
      #expect(program.isRunning)
      withExtendedLifetime(client) {}
    }
    #expect(program.result().status == 0)
    #expect(scratch.read("log").contains("VB-RUN-031: no client for 1 s"))
  }

  @Test(
    "an unknown passed socket ends the start with the status of the network",
    arguments: ["virtqemud.socket", "virtbrokerd-x.socket", "virtbrokerd.socket:unknown"])
  func unclaimed(names: String) throws {
    let scratch = try Scratch()
    let result = try program(scratch, names).result()
    #expect(result.status == 6)
    let last = names.split(separator: ":").last ?? ""
    #expect(scratch.read("log").contains("VB-SYSD-001: activated socket \(last) (descriptor "))
    #expect(!scratch.exists("pid"))
  }

  @Test("a passed socket that does not listen is refused")
  func deaf() throws {
    let scratch = try Scratch()
    let directory = "\(scratch.path)/deaf"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true)
    let result = try program(scratch, "virtbrokerd.socket", directory: directory).result()
    #expect(result.status == 6)
    #expect(scratch.read("log").contains("VB-SYSD-003"))
  }

  @Test("sockets without names are logged as an error, and the broker creates its own")
  func nameless() throws {
    for environment in [["NAMES": "one:two"], ["NAMES": ""]] {
      let scratch = try Scratch()
      // With one socket an empty list would be one unknown name, so the empty list comes with two sockets.
      let names = environment["NAMES"] == "" ? "a:b" : "virtbrokerd.socket"
      let program = try program(scratch, names, environment: environment)
      #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
      try #require(program.isRunning)
      #expect(scratch.read("log").contains(": error : VB-SYSD-006: LISTEN_FDNAMES: expected "))
      #expect(scratch.exists("libvirt-sock"))
      program.signal(SIGTERM)
      #expect(program.result().status == 0)
    }
  }

  @Test("sockets meant for another process are ignored")
  func others() throws {
    let scratch = try Scratch()
    let program = try program(scratch, "whatever", environment: ["OFF_BY": "1"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning)
    #expect(scratch.read("log").contains("VB-SYSD-007"))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }
}
