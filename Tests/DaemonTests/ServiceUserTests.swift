// `user`: a daemon that is root only until it listens.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("service user", .enabled(if: getuid() == 0, "SKIPPED: only root can become another user"))
struct ServiceUserTests {
  private func started(_ scratch: Scratch, _ more: String) throws -> Program {
    let program = try Program(
      ["-f", try scratch.configuration(more), "-p", "\(scratch.path)/pid"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning, "\(scratch.read("log"))")
    return program
  }

  private func status(_ program: Program, _ field: String) throws -> [Substring] {
    let text = try String(contentsOfFile: "/proc/\(program.identifier)/status", encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("\(field):") })
    return line.dropFirst(field.count + 1).split(whereSeparator: \.isWhitespace)
  }

  @Test(
    "it binds and opens as root, then becomes the user without any privilege of root, and serves")
  func becomes() throws {
    let scratch = try Scratch()
    let entry = try #require(getpwnam("daemon")).pointee
    let program = try started(scratch, "user = \"daemon\"")
    #expect(try status(program, "Uid") == Array(repeating: "\(entry.pw_uid)", count: 4))
    #expect(try status(program, "Gid") == Array(repeating: "\(entry.pw_gid)", count: 4))
    #expect(try !status(program, "Groups").contains("0"))
    for field in ["CapEff", "CapPrm", "CapAmb", "CapBnd"] {
      #expect(try status(program, field).first?.allSatisfy { $0 == "0" } == true)
    }
    // Each thread is checked, because the processes it starts inherit its privileges.
    let tasks = "/proc/\(program.identifier)/task"
    for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
      let text = try String(contentsOfFile: "\(tasks)/\(task)/status", encoding: .utf8)
      #expect(text.contains("NoNewPrivs:\t1\n") && text.contains("CapBnd:\t0000000000000000\n"))
    }
    let client = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock")
    #expect(
      eventually { scratch.read("log").contains("connected to \(scratch.path)/libvirt-sock") })
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
    #expect(scratch.read("log").hasSuffix(": info : VB-RUN-003: stopped\n"))
    withExtendedLifetime(client) {}
  }

  @Test("a warning at start names what the user cannot do, and the program still works")
  func limits() throws {
    // The directory belongs to root and is closed to all others.
    let scratch = try Scratch()
    let configuration = "user = \"daemon\"\nauth_tcp = \"none\""
    for _ in 0..<2 {
      let program = try started(scratch, configuration)
      let log = scratch.read("log")
      #expect(
        log.contains(
          "VB-USER-014: \(scratch.path)/virtbrokerd.conf: user daemon cannot read it: Permission denied"
        ))
      #expect(
        log.contains("VB-USER-015: \(scratch.path)/pid: user daemon cannot remove it"))
      program.signal(SIGHUP)
      #expect(eventually { scratch.read("log").contains("VB-RUN-009 VB-CONF-001: ") })
      program.signal(SIGTERM)
      #expect(program.result().status == 0)
      // The next start, in this loop, takes over the pid file and the socket.
      #expect(scratch.exists("pid") && scratch.read("pid") == "")
      try FileManager.default.removeItem(atPath: "\(scratch.path)/log")
    }
  }

  @Test("in a directory of the user's all files are removed at exit, and HUP works")
  func ownDirectory() throws {
    let scratch = try Scratch()
    let entry = try #require(getpwnam("daemon")).pointee
    chown(scratch.path, entry.pw_uid, entry.pw_gid)
    let program = try started(scratch, "user = \"\(entry.pw_uid)\"")
    #expect(!scratch.read("log").contains("cannot"))
    _ = try scratch.configuration("user = \"daemon\"\nmax_clients = 30")
    program.signal(SIGHUP)
    #expect(eventually { scratch.read("log").contains("changed: max_clients\n") })
    #expect(scratch.read("log").contains(/VB-RUN-007: .*: user\n/))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
    #expect(!scratch.exists("pid") && !scratch.exists("libvirt-sock"))
  }

  @Test("an unknown user ends the start with the status of the privileges stage")
  func unknown() throws {
    let scratch = try Scratch()
    let path = try scratch.configuration("user = \"no such user\"")
    let result = try Program.run(["-f", path, "-p", "\(scratch.path)/pid"])
    #expect(result.status == 5)
    // The log is not opened, because it is not known with whose rights.
    #expect(scratch.read("log") == "")
    #expect(
      result.err.hasSuffix(
        ": error : VB-USER-002: \(path):5: user: user 'no such user' does not exist\n"))
    #expect(!scratch.exists("pid") && !scratch.exists("libvirt-sock"))
  }

  @Test("after HUP the audit continues in the old file, or in a new one created for the user")
  func audit() throws {
    let scratch = try Scratch()
    chmod(scratch.path, 0o711)
    let program = try started(
      scratch, "user = \"daemon\"\naudit_log = \"file:\(scratch.path)/audit\"")
    func records(_ name: String) -> Int {
      scratch.read(name).split(separator: "\n").filter { $0.contains("connection_opened") }.count
    }
    func connect() throws { _ = try UnixSocket(connectedTo: "\(scratch.path)/libvirt-sock") }
    try connect()
    #expect(eventually { records("audit") == 1 })
    program.signal(SIGHUP)
    #expect(eventually { scratch.read("log").contains("VB-RUN-006") })
    try connect()
    #expect(eventually { records("audit") == 2 })

    // The file was moved away without a new one; only root could create one here.
    try FileManager.default.moveItem(
      atPath: "\(scratch.path)/audit", toPath: "\(scratch.path)/audit.1")
    program.signal(SIGHUP)
    #expect(
      eventually {
        _ = try? connect()
        return scratch.read("log").contains(
          ": error : VB-AUDIT-003 VB-AUDIT-001: audit_log: cannot open the audit file "
            + "\(scratch.path)/audit: Permission denied; ")
      })
    #expect(eventually { records("audit.1") > 2 })

    // Like logrotate: a new file that belongs to the user.
    let entry = try #require(getpwnam("daemon")).pointee
    try scratch.write("audit", "")
    chmod("\(scratch.path)/audit", 0o600)
    chown("\(scratch.path)/audit", entry.pw_uid, entry.pw_gid)
    program.signal(SIGHUP)
    #expect(
      eventually {
        _ = try? connect()
        return records("audit") > 0
      })
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("a warning says that polkit answers only root")
  func polkit() throws {
    let scratch = try Scratch()
    let path = try scratch.write(
      "polkit.conf",
      "unix_sock_dir = \"\(scratch.path)\"\nlog_outputs = \"1:file:\(scratch.path)/log\"\nlog_level = 2\n"
        + "user = \"daemon\"")
    let program = try Program(["-f", path, "-p", "\(scratch.path)/pid"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    #expect(scratch.read("log").contains("VB-USER-012"))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }
}
