// The Debian package of the release build, used as an administrator would; `package/check` has the steps.
import Foundation
import Testing

@Suite("The Debian package", Lab.isPossible, Package.isPossible, .inTurn)
struct PackageTests {
  @Test("it installs, serves virsh, upgrades, and leaves nothing behind")
  func life() async throws {
    let lab = try await Lab.shared(.mono)
    let packages = try await Package.made.value
    if !Package.hasBench { print("SKIPPED: virtbench's package: make build-bench") }
    let arguments = ["\(Lab.folder)/package/check", packages[0], lab.directory]
    let check = try await Command(arguments + packages.dropFirst()).run()
    if check.status == 77 { return print("SKIPPED: the package is not installed: \(check.output)") }
    #expect(check.status == 0, "\(check.output)\(check.errors)")
    #expect(check.output.contains("ok: removed and purged; nothing is left"))
    #expect(check.output.contains("ok: virtbench is in a package of its own") == Package.hasBench)
  }

  @Test(
    "with a real systemd it works beside libvirtd, whichever was installed first",
    Package.bootsHosts)
  func boot() async throws {
    var make = Command("\(Lab.folder)/package/debian")
    make.limit = .seconds(900)  // It downloads and unpacks 200 MB if `make test` has not done so.
    let debian = try await make.run()
    if debian.status == 77 { return print(debian.errors) }
    #expect(debian.status == 0, "\(debian.errors)")
    let root = debian.output.trimmingCharacters(in: .whitespacesAndNewlines)
    var story = Command("\(Lab.folder)/package/boot", try await Package.made.value[0], root)
    story.limit = .seconds(600)
    let boot = try await story.run()
    if boot.status == 77 { return print("SKIPPED: no host is booted: \(boot.output)") }
    #expect(boot.status == 0, "\(boot.output)\(boot.errors)")
    #expect(boot.output.contains("ok: libvirtd.socket takes its names when it starts"))
  }

  @Test(
    "virtbench and its files are in the package virtbroker-bench, and no file is in both packages")
  func bench() async throws {
    // Substitutes: the test build has virtbench, but with Swift's libraries beside it.
    let built = try Scratch.directory("built-bench")
    for name in ["virtbench", "limit-relay", "steps"] {
      try FileManager.default.copyItem(atPath: "/usr/bin/true", toPath: "\(built)/\(name)")
    }
    let packages = try await Package.make(withBench: true, builtIn: built)
    try #require(packages.count == 2)
    var files: [Set<String>] = []
    for package in packages {
      let list = try await Command("sh", "-c", "dpkg-deb --fsys-tarfile \"$0\" | tar -t", package)
        .output()
      files.append(Set(list.split(separator: "\n").map(String.init).filter { !$0.hasSuffix("/") }))
    }
    #expect(files[0].isDisjoint(with: files[1]))
    #expect(!files[0].contains { $0.contains("virtbench") || $0.contains("/lib/virtbroker/") })
    let lib = "./usr/lib/virtbroker"
    #expect(
      files[1].isSuperset(of: [
        "./usr/bin/virtbench", "\(lib)/virtbench", "\(lib)/limit-relay", "\(lib)/steps",
        "./usr/share/man/man1/virtbench.1.gz",
      ]))
    let fields = Command("dpkg-deb", "--field", packages[0], "Depends", "Recommends")
    let depends = try await fields.output()
    #expect(!depends.contains("libvirt-daemon"), "\(depends)")
  }

  @Test("both services have the same settings, and each socket unit describes its purpose")
  func units() throws {
    func unit(_ name: String) throws -> String {
      try String(contentsOfFile: "\(Package.project)/etc/systemd/\(name)", encoding: .utf8)
    }
    func section(_ text: String) -> Substring? {
      text.firstRange(of: "\n[Service]\n").flatMap { start in
        text.firstRange(of: "\n[Install]\n").map { text[start.lowerBound..<$0.lowerBound] }
      }
    }
    let service = try section(unit("virtbrokerd.service"))
    #expect(service != nil)
    #expect(try section(unit("virtbrokerd-beside.service")) == service)
    for kind in ["", "-ro", "-admin", "-tcp", "-tls"] {
      let beside = try unit("virtbrokerd-beside\(kind).socket")
      #expect(beside.contains("\nFileDescriptorName=virtbrokerd\(kind).socket\n"), "\(kind)")
    }
  }

  @Test("make install supports prefix and DESTDIR, and keeps a changed configuration")
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

  /// Whether the files of virtbench's package exist. `make test` does not build them.
  static let hasBench = isBuilt("bench/.build/release/steps")

  /// The packages of the current build, made once.
  static let made = Task { try await make(withBench: hasBench) }

  /// Builds the packages and returns their paths, the broker's first.
  static func make(withBench: Bool, builtIn bench: String? = nil) async throws -> [String] {
    var build = Command("\(project)/scripts/deb", try Scratch.directory("deb"))
    build.limit = .seconds(600)  // Compressing virtbench takes a while on a busy machine.
    if !withBench { build.environment["WITHOUT_BENCH"] = "1" }
    if let bench { build.environment["BUILT_BENCH"] = bench }
    return try await build.output().split(separator: "\n").map(String.init)
  }

  /// Takes minutes, most of them on a machine that has to create its Debian first.
  static let bootsHosts = ConditionTrait.enabled(
    if: ProcessInfo.processInfo.environment["VIRTBROKER_BOOTS_HOSTS"] != nil,
    "SKIPPED: a host with a real systemd is booted by `make test-package`")

  static let isPossible = ConditionTrait.enabled(
    if: isBuilt(".build/release/virtbrokerd") && isBuilt(".build/release/virtbroker"),
    "SKIPPED: there is no release build to make a package of: make build")
}
