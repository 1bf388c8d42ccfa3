// The Debian package of the release build, used as an administrator would: `package/check` tells the story.
import Foundation
import Testing

@Suite("The Debian package", Lab.isPossible, Package.isPossible, .inTurn)
struct PackageTests {
  @Test("it installs, serves virsh, upgrades, and leaves nothing behind")
  func life() async throws {
    let lab = try await Lab.shared(.mono)
    var build = Command("\(Package.project)/scripts/deb", try Scratch.directory("deb"))
    // `make test` builds the broker only; where virtbench has been built too, it is checked as well.
    if !Package.isBuilt("bench/.build/release/steps") { build.environment["WITHOUT_BENCH"] = "1" }
    let package = try await build.output().trimmingCharacters(in: .whitespacesAndNewlines)
    let check = try await Command("\(Lab.folder)/package/check", package, lab.directory).run()
    if check.status == 77 { return print("SKIPPED: the package is not installed: \(check.output)") }
    #expect(check.status == 0, "\(check.output)\(check.errors)")
    #expect(check.output.contains("ok: removed and purged; nothing is left"))
  }

  @Test("make install has a prefix and a DESTDIR, and keeps a configuration that was changed")
  func install() async throws {
    let root = try Scratch.directory("install")
    var install = Command("\(Package.project)/scripts/install-files")
    install.environment = [
      "DESTDIR": root, "prefix": "/opt/vb", "sysconfdir": "/opt/etc", "WITHOUT_BENCH": "1",
    ]
    try await install.output()
    let program = root + "/opt/vb/sbin/virtbrokerd"
    #expect(try await Command(program, "--version").output().contains("virtbroker"))
    #expect(try await !Command("ldd", program).output().contains("libswift"))
    let file = root + "/opt/etc/libvirt/virtbrokerd.conf"
    let fresh = try String(contentsOfFile: file, encoding: .utf8)
    try "max_clients = 7\n".write(toFile: file, atomically: true, encoding: .utf8)
    let again = try await install.run()
    #expect(again.status == 0 && again.errors.contains("was changed and is kept"))
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "max_clients = 7\n")
    #expect(try String(contentsOfFile: file + ".dist", encoding: .utf8) == fresh)
  }
}

enum Package {
  static let project = URL(fileURLWithPath: Lab.folder).deletingLastPathComponent()
    .deletingLastPathComponent().path

  static func isBuilt(_ path: String) -> Bool {
    FileManager.default.isExecutableFile(atPath: "\(project)/\(path)")
  }

  static let isPossible = ConditionTrait.enabled(
    if: isBuilt(".build/release/virtbrokerd"),
    "SKIPPED: there is no release build to make a package of: make build")
}
