// The built program: start, signals and exit.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("daemon")
struct DaemonTests {
  /// A running program and its directory, ready to serve.
  private func started(
    _ scratch: Scratch, _ arguments: [String] = [], environment: [String: String] = [:]
  ) throws -> Program {
    let program = try Program(
      ["-f", try scratch.configuration(), "-p", "\(scratch.path)/pid"] + arguments,
      environment: environment)
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    return program
  }

  @Test(
    "in the foreground it serves until TERM, INT or QUIT, then exits 0 and removes its pid file",
    arguments: [SIGTERM, SIGINT, SIGQUIT])
  func stops(signal: Int32) throws {
    let scratch = try Scratch()
    let program = try started(scratch)
    try #require(program.isRunning)
    #expect(scratch.read("pid") == "\(program.identifier)")
    #expect(scratch.exists("libvirt-sock"))
    program.signal(signal)
    let result = program.result()
    #expect(result.status == 0)
    #expect(result.out == "" && result.err == "")
    #expect(!scratch.exists("pid"))
    #expect(scratch.read("log").hasSuffix(": info : VB-RUN-003: stopped\n"))
  }

  @Test("HUP reloads the configuration, PIPE has no effect")
  func staysUp() throws {
    let scratch = try Scratch()
    let program = try started(scratch)
    try #require(program.isRunning)
    program.signal(SIGPIPE)
    program.signal(SIGHUP)
    #expect(
      eventually {
        scratch.read("log").contains("VB-RUN-006")
      })
    #expect(program.isRunning)
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("the first TERM waits for a call under way; a second one does not")
  func hurry() throws {
    let scratch = try Scratch()
    let program = try started(scratch)
    try #require(program.isRunning)
    // A backend that accepts and never answers keeps the client's first call under way.
    let backend = try UnixSocket(listeningAt: "\(scratch.path)/backends/libvirt-sock")
    let client = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    client.send(UnixSocket.connectOpen)
    let upstream = try #require(backend.accepted())
    program.signal(SIGTERM)
    #expect(eventually { scratch.read("log").contains("VB-RUN-001: signal TERM: ") })
    #expect(program.isRunning && scratch.exists("pid"))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
    let log = scratch.read("log")
    #expect(log.contains(": warning : VB-RUN-002: signal TERM again: "))
    #expect(!log.contains("VB-RUN-033"))
    #expect(!scratch.exists("pid") && !scratch.exists("libvirt-sock"))
    withExtendedLifetime((client, upstream)) {}
  }

  @Test("the soft limit on descriptors is raised to the hard one")
  func descriptors() throws {
    let scratch = try Scratch()
    let configuration = try scratch.configuration()
    let program = try Program(
      [
        "-c", "ulimit -S -n 64; exec \"$0\" -f \"$1\" -p \"$2\"", Program.path, configuration,
        "\(scratch.path)/pid",
      ], program: "/bin/sh")
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning)
    let limits = try String(contentsOfFile: "/proc/\(program.identifier)/limits", encoding: .utf8)
    let open = try #require(limits.firstMatch(of: /Max open files +(\d+) +(\d+)/))
    #expect(open.1 == open.2)
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("-d returns 0 once the daemon serves; the daemon has no terminal, and / as its directory")
  func background() throws {
    let scratch = try Scratch()
    // The timeout ends the daemon if this test fails before it does.
    let starter = try Program([
      "-d", "-t", "60", "-f", try scratch.configuration(), "-p", "\(scratch.path)/pid",
    ])
    let result = starter.result()
    #expect(result.status == 0)
    #expect(result.out == "" && result.err == "")
    let daemon = try #require(pid_t(scratch.read("pid")))
    defer { kill(daemon, SIGKILL) }
    #expect(daemon != starter.identifier)
    #expect(getsid(daemon) == daemon)
    let files = FileManager.default
    #expect(
      try files.destinationOfSymbolicLink(atPath: "/proc/\(daemon)/exe").hasSuffix("/virtbrokerd"))
    #expect(try String(contentsOfFile: "/proc/\(daemon)/comm", encoding: .utf8) == "virtbrokerd\n")
    #expect(try files.destinationOfSymbolicLink(atPath: "/proc/\(daemon)/cwd") == "/")
    for descriptor in 0...2 {
      #expect(
        try files.destinationOfSymbolicLink(atPath: "/proc/\(daemon)/fd/\(descriptor)")
          == "/dev/null")
    }
    kill(daemon, SIGTERM)
    #expect(eventually { !scratch.exists("pid") && kill(daemon, 0) != 0 })
    #expect(scratch.read("log").hasSuffix(": info : VB-RUN-003: stopped\n"))
  }

  @Test("-d returns 1 with the stage and the reason when the daemon does not start")
  func backgroundFailure() throws {
    let scratch = try Scratch()
    let configuration = try scratch.configuration("unix_sock_rw_perms = \"rwx\"")
    let result = try Program.run(["-d", "-f", configuration, "-p", "\(scratch.path)/pid"])
    let line =
      "VB-CONF-005: \(configuration):5: unix_sock_rw_perms: expected permission bits in octal from 0 to 0777, "
      + "as a string, found the string \"rwx\""
    #expect(result.status == 1 && result.out == "")
    #expect(
      result.err
        == "\(Program.path): VB-START-009: the daemon failed to start (network): \(line)\n")
    #expect(scratch.read("log").hasSuffix(": error : \(line)\n"))
    #expect(!scratch.exists("pid"))

    let missing = try Program.run(["-d", "-f", "/no/such/file"])
    #expect(missing.status == 1)
    #expect(missing.err.hasSuffix("/no/such/file: No such file or directory\n"))
  }

  @Test(
    "a failed start exits with the number of its stage and reports every error",
    arguments: [
      ("listen_tcp = 2", 1), ("max_clients = 1", 3), ("unix_sock_rw_perms = \"\"", 6),
      ("unix_sock_group = \"no such group\"", 6), ("audit_level = 2", 10),
      ("max_clients = 1\nlisten_tcp = 2", 1), ("max_clients =", 1),
    ])
  func stages(text: String, status: Int32) throws {
    let scratch = try Scratch()
    let configuration = try scratch.configuration(text)
    let result = try Program.run(
      ["-f", configuration, "-p", "\(scratch.path)/pid"],
      environment: ["LIBVIRT_LOG_OUTPUTS": "1:stderr"])
    #expect(result.status == status)
    let lines = result.err.split(separator: "\n")
    #expect(lines.count == text.split(separator: "\n").count)
    #expect(lines.allSatisfy { $0.contains(#/: error : VB-[A-Z]+-\d{3}: /#) })
    #expect(lines.allSatisfy { $0.contains("\(configuration):") })
    #expect(!scratch.exists("pid"))
  }

  @Test("an unavailable address exits 6, in the foreground and with -d, and leaves no files")
  func unboundAddress() throws {
    let scratch = try Scratch()
    // 192.0.2.1 is reserved for documentation; no host has it.
    let configuration = try scratch.configuration(
      "listen_tcp = 1\nauth_tcp = \"none\"\nlisten_addr = \"192.0.2.1\"\ntcp_port = \"0\"")
    let arguments = ["-f", configuration, "-p", "\(scratch.path)/pid"]
    let result = try Program.run(arguments)
    #expect(result.status == 6)
    #expect(scratch.read("log").contains(": error : "))
    #expect(scratch.read("log").contains("192.0.2.1"))
    #expect(!scratch.exists("pid") && !scratch.exists("libvirt-sock"))

    let background = try Program.run(["-d"] + arguments)
    #expect(background.status == 1)
    #expect(
      background.err.hasPrefix(
        "\(Program.path): VB-START-009: the daemon failed to start (network): "))
    #expect(!scratch.exists("pid") && !scratch.exists("libvirt-sock"))
  }

  @Test("with a timeout it exits 0 by itself when no client is connected")
  func timeout() throws {
    let scratch = try Scratch()
    let program = try started(scratch, ["-t", "1"])
    #expect(program.result().status == 0)
    #expect(scratch.read("log").hasSuffix(": info : VB-RUN-003: stopped\n"))
    #expect(!scratch.exists("pid"))
  }

  @Test("an unknown key gives a warning, and the daemon serves")
  func unknownKey() throws {
    let scratch = try Scratch()
    let program = try Program(
      ["-f", try scratch.configuration("max_client = 5"), "-p", "\(scratch.path)/pid", "-v"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    #expect(
      scratch.read("log").contains(
        ":5: max_client: unknown key, ignored; did you mean max_clients?\n"))
    #expect(scratch.read("log").contains("VB-CONF-007"))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test(
    "closed standard descriptors are filled, so that nothing the broker opens gets their numbers")
  func standardDescriptors() throws {
    let scratch = try Scratch()
    let program = try Program(
      [
        "-c", "exec \"$0\" -f \"$1\" -p \"$2\" 0<&- 1>&- 2>&-", Program.path,
        try scratch.configuration(), "\(scratch.path)/pid",
      ], program: "/bin/sh")
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning)
    for descriptor in 0...2 {
      #expect(
        try FileManager.default.destinationOfSymbolicLink(
          atPath: "/proc/\(program.identifier)/fd/\(descriptor)") == "/dev/null")
    }
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }
}
