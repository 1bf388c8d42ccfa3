// Files that the user of `user` plants at paths that the broker opens as root.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("planted files", .enabled(if: getuid() == 0, "SKIPPED: only root can become another user"))
struct PlantedFileTests {
  /// What the user plants at the path or on the way to it.
  enum Trap: CaseIterable, CustomTestStringConvertible {
    case link, hardLink, directory
    var testDescription: String {
      switch self {
      case .link: "a symbolic link to the victim"
      case .hardLink: "a second name of the victim"
      case .directory: "a symbolic link to the victim's directory"
      }
    }
  }

  /// The file that the broker opens there.
  enum Place: String, CaseIterable {
    case pidFile, log, audit
  }

  /// A file of root's, and a directory of the user's with a trap in it.
  private struct Scene {
    let scratch: Scratch
    let victim: String
    /// The path that the broker opens.
    let path: String
    let before: stat

    init(_ trap: Trap) throws {
      scratch = try Scratch()
      let entry = try #require(getpwnam("daemon")).pointee
      let (mine, closed) = ("\(scratch.path)/mine", "\(scratch.path)/closed")
      for directory in [mine, closed] { try #require(mkdir(directory, 0o755) == 0) }
      chmod(scratch.path, 0o755)
      try scratch.write("closed/victim", "precious\n")
      victim = "\(closed)/victim"
      chmod(victim, 0o644)
      switch trap {
      case .link:
        path = "\(mine)/file"
        try #require(symlink(victim, path) == 0)
      case .hardLink:
        path = "\(mine)/file"
        try #require(link(victim, path) == 0)
      case .directory:
        path = "\(mine)/sub/victim"
        try #require(symlink(closed, "\(mine)/sub") == 0)
      }
      try #require(lchown(mine, entry.pw_uid, entry.pw_gid) == 0)
      before = try Scene.status(victim)
    }

    static func status(_ path: String) throws -> stat {
      var status = stat()
      try #require(lstat(path, &status) == 0)
      return status
    }

    func expectUnharmed() throws {
      let after = try Scene.status(victim)
      #expect(scratch.read("closed/victim") == "precious\n")
      #expect(after.st_uid == 0 && after.st_gid == before.st_gid)
      #expect(after.st_mode == before.st_mode && after.st_ino == before.st_ino)
      #expect(after.st_mtim.tv_sec == before.st_mtim.tv_sec)
      #expect(after.st_mtim.tv_nsec == before.st_mtim.tv_nsec)
    }
  }

  @Test(
    "no planted file makes root open, truncate or give away another file",
    arguments: Place.allCases, Trap.allCases)
  func planted(place: Place, trap: Trap) throws {
    let scene = try Scene(trap)
    let path = scene.path
    var lines = "user = \"daemon\""
    if place == .audit { lines += "\naudit_log = \"file:\(path)\"" }
    let result = try Program.run(
      [
        "-f", try scene.scratch.configuration(lines),
        "-p", place == .pidFile ? path : "\(scene.scratch.path)/pid",
      ], environment: place == .log ? ["LIBVIRT_LOG_OUTPUTS": "1:file:\(path)"] : [:])
    #expect(result.status > 0, "\(result.status)")
    let what =
      switch place {
      case .pidFile: "VB-START-005 VB-USER-024: cannot take the pid file \(path): "
      case .log: "VB-LOG-004 VB-USER-024: log_outputs: cannot open the log file \(path): "
      case .audit: "VB-AUDIT-001 VB-USER-024: audit_log: cannot open the audit file \(path): "
      }
    #expect(result.err.contains(what), "\(result.err)")
    #expect(result.err.contains("with the rights of user daemon"), "\(result.err)")
    try scene.expectUnharmed()
  }

  @Test(
    "a link in place of a socket is neither followed nor removed, and its target keeps its group"
  )
  func socket() throws {
    let scene = try Scene(.link)
    let mine = "\(scene.scratch.path)/mine"
    try #require(symlink(scene.victim, "\(mine)/libvirt-sock") == 0)
    let file = try scene.scratch.write(
      "socket.conf",
      """
      unix_sock_dir = "\(mine)"
      unix_sock_group = "daemon"
      auth_unix_rw = "none"; auth_unix_ro = "none"
      log_outputs = "1:file:\(scene.scratch.path)/log"
      user = "daemon"
      """)
    let result = try Program.run(["-f", file, "-p", "\(scene.scratch.path)/pid"])
    #expect(result.status == 6)
    #expect(result.err.contains("'\(mine)/libvirt-sock' exists and is not a socket"))
    try scene.expectUnharmed()
  }

  @Test(
    "in a directory of the user's the sockets belong to the user and have the configured group")
  func ownSockets() throws {
    let scene = try Scene(.link)
    let mine = "\(scene.scratch.path)/mine"
    let (user, group) = (
      try #require(getpwnam("daemon")).pointee.pw_uid, try #require(getgrnam("tty")).pointee.gr_gid
    )
    let file = try scene.scratch.write(
      "socket.conf",
      """
      unix_sock_dir = "\(mine)"
      unix_sock_group = "tty"
      auth_unix_rw = "none"; auth_unix_ro = "none"
      log_level = 2; log_outputs = "2:file:\(scene.scratch.path)/log"
      metrics_listen = "\(mine)/metrics"
      user = "daemon"
      """)
    // The second run replaces a socket that root left there.
    for _ in 0..<2 {
      let program = try Program(["-f", file, "-p", "\(mine)/pid"])
      #expect(eventually { scene.scratch.read("log").contains("is ready") || !program.isRunning })
      try #require(program.isRunning, "\(scene.scratch.read("log"))")
      let status = try Scene.status("\(mine)/libvirt-sock")
      #expect(status.st_uid == user && status.st_gid == group)
      #expect(status.st_mode & 0o777 == 0o700)
      #expect(try Scene.status("\(mine)/metrics").st_uid == user)
      #expect(try Scene.status("\(mine)/pid").st_uid == user)
      program.signal(SIGTERM)
      #expect(program.result().status == 0)
      for name in ["libvirt-sock", "metrics", "pid"] {
        #expect(!scene.scratch.exists("mine/\(name)"))
      }
      try FileManager.default.removeItem(atPath: "\(scene.scratch.path)/log")
      let left = try UnixSocket(listeningAt: "\(mine)/libvirt-sock")
      withExtendedLifetime(left) {}
    }
    try scene.expectUnharmed()
  }
}
