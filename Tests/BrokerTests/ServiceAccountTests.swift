// Which paths a user could redirect.
import Foundation
import Testing

@testable import Broker

@Suite("Service account", .enabled(if: getuid() == 0, "SKIPPED: needs files of several users"))
struct ServiceAccountTests {
  @Test("a path is under a user's control from the first directory that the user can change")
  func paths() throws {
    let scratch = try Scratch()
    let entry = try #require(getpwnam("daemon")).pointee
    let account = ServiceAccount(name: "daemon", uid: entry.pw_uid, gid: entry.pw_gid)
    let root = scratch.path
    defer { try? FileManager.default.removeItem(atPath: root) }
    func make(_ name: String, _ mode: mode_t, _ user: uid_t = 0, _ group: gid_t = 0) {
      #expect(mkdir("\(root)/\(name)", 0o700) == 0)
      #expect(chown("\(root)/\(name)", user, group) == 0)
      #expect(chmod("\(root)/\(name)", mode) == 0)
    }
    make("closed", 0o755)
    make("mine", 0o555, entry.pw_uid)
    make("group", 0o775, 0, entry.pw_gid)
    make("others", 0o775, 0, 5)
    make("all", 0o777)
    make("sticky", 0o1777)
    make("sticky/closed", 0o755)
    make("sticky/mine", 0o755, entry.pw_uid)
    #expect(symlink("\(root)/mine", "\(root)/closed/link") == 0)
    #expect(symlink("../others", "\(root)/closed/fine") == 0)
    #expect(symlink("loop", "\(root)/closed/loop") == 0)
    let safe = [
      "closed/file", "closed/missing/file", "others/file", "closed/fine/file", "sticky/closed/file",
      "closed/../closed/./file", "closed//file",
    ]
    for path in safe { #expect(!account.canRedirect("\(root)/\(path)"), "\(path)") }
    let unsafe = [
      "mine/file", "mine/sub/file", "group/file", "all/file", "sticky/file", "sticky/mine",
      "closed/link/file", "closed/loop",
    ]
    for path in unsafe { #expect(account.canRedirect("\(root)/\(path)"), "\(path)") }
    #expect(account.canRedirect("file"))
  }
}
