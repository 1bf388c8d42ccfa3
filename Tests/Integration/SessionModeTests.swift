// The broker of a user other than root.
import Foundation
import Glibc
import Testing

/// A user's broker, with all of libvirt's directories in the test's own directory.
private final class UserScene: Sendable {
  static let user: uid_t = 65534
  let directory: String
  private let child: Child

  var sockets: String { directory + "/run/libvirt" }
  var log: String { (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "" }

  private let environment: [String: String]

  /// - Parameter daemons: the installed daemons, each a name and the content of a script.
  init(daemons: [String: String]) throws {
    directory = try Scratch.directory("m")
    environment = [
      "HOME": directory + "/home", "XDG_RUNTIME_DIR": directory + "/run",
      "XDG_CONFIG_HOME": directory + "/config", "XDG_CACHE_HOME": directory + "/cache",
      "VIRTD_PATH": directory + "/bin",
    ]
    for name in ["home", "run", "config/libvirt", "cache", "bin"] {
      try FileManager.default.createDirectory(
        atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
    }
    for (name, script) in daemons {
      try script.write(toFile: "\(directory)/bin/\(name)", atomically: false, encoding: .utf8)
      chmod("\(directory)/bin/\(name)", 0o755)
    }
    // The user's configuration file at its default path.
    try "log_level = 1\nlog_outputs = \"1:file:\(directory)/log\"\n".write(
      toFile: directory + "/config/libvirt/virtbrokerd.conf", atomically: false, encoding: .utf8)
    try FileManager.default.copyItem(
      atPath: BrokerProcess.executable, toPath: directory + "/virtbrokerd")
    for name in [".", "home", "run", "config", "config/libvirt", "cache"] {
      chown("\(directory)/\(name)", Self.user, Self.user)
    }
    let said = open(directory + "/said", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(said) }
    // Started daemons do not see the machine's own libvirt, and end with the test.
    child = try Child(
      [
        "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh",
        "-c",
        """
        for place in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
          mkdir -p $place; mount -t tmpfs tmpfs $place || exit 1
        done
        ip link set lo up
        setpriv --reuid \(Self.user) --regid \(Self.user) --clear-groups \(directory)/virtbrokerd &
        trap 'kill -TERM $!; wait $!; exit' TERM
        wait $!
        """,
      ], output: said, errors: said, environment: environment)
  }

  func ready(_ socket: String) throws {
    let path = "\(sockets)/\(socket)"
    guard eventually({ BrokerProcess.accepts(unix: path) }) else {
      let said = (try? String(contentsOfFile: directory + "/said", encoding: .utf8)) ?? ""
      throw Trouble("the user's broker is not ready: \(said) \(log)")
    }
  }

  /// Runs one virsh command as the user.
  func virsh(_ socket: String, _ arguments: String...) async throws -> CommandResult {
    var command = Command(
      [
        "setpriv", "--reuid", "\(Self.user)", "--regid", "\(Self.user)", "--clear-groups", "virsh",
        "-q", "-c", "qemu+unix:///session?socket=\(sockets)/\(socket)",
      ] + arguments)
    command.environment = environment
    return try await command.run()
  }

  func started(_ daemon: String) -> Int {
    log.split(separator: "\n").count {
      $0.contains("VB-DAEM-001: started \(directory)/bin/\(daemon) ")
    }
  }

  func end() { child.end() }
}

@Suite("A user's own broker", Lab.isPossible, .inTurn)
struct SessionModeTests {
  /// A script that runs libvirtd in directories of its own in place of a modular daemon.
  static func modular(_ name: String) -> String {
    """
    #!/bin/sh
    echo "$@" >>$HOME/\(name)
    mkdir -p $XDG_RUNTIME_DIR/\(name)
    ln -sfn ../\(name)/libvirt/libvirt-sock $XDG_RUNTIME_DIR/libvirt/\(name)-sock
    XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR/\(name) exec /usr/sbin/libvirtd "$@"

    """
  }

  @Test("each modular daemon is started once, when it is needed")
  func modular() async throws {
    let scene = try UserScene(daemons: [
      "virtqemud": Self.modular("virtqemud"), "virtstoraged": Self.modular("virtstoraged"),
    ])
    try scene.ready("libvirt-sock")
    #expect(!FileManager.default.fileExists(atPath: scene.sockets + "/libvirt-sock-ro"))
    try await withThrowingTaskGroup(of: CommandResult.self) { group in
      for _ in 0..<4 { group.addTask { try await scene.virsh("libvirt-sock", "list", "--all") } }
      for try await result in group {
        #expect(result.status == 0, "\(result) \(scene.log)")
      }
    }
    #expect(scene.started("virtqemud") == 1)
    #expect(scene.started("virtstoraged") == 0)
    let pools = try await scene.virsh("libvirt-sock", "pool-list", "--all")
    #expect(pools.status == 0, "\(pools) \(scene.log)")
    #expect(scene.started("virtstoraged") == 1)
    let arguments = try String(
      contentsOfFile: scene.directory + "/home/virtqemud", encoding: .utf8)
    #expect(arguments == "--timeout=120\n")
    #expect(
      try eventually {
        try !FileManager.default.contentsOfDirectory(atPath: scene.sockets).contains {
          $0.hasSuffix("d.lock")
        }
      }, "nobody is kept from starting one later")
    scene.end()
  }

  @Test("if only libvirtd is installed it is started and keeps its socket names")
  func whole() async throws {
    let scene = try UserScene(daemons: [
      "libvirtd": "#!/bin/sh\nexec /usr/sbin/libvirtd \"$@\"\n"
    ])
    try scene.ready("virtbroker-sock")
    // The socket is created before the line is logged.
    #expect(eventually { scene.log.contains("VB-START-004") })
    let result = try await scene.virsh("virtbroker-sock", "list", "--all")
    #expect(result.status == 0, "\(result) \(scene.log)")
    #expect(scene.started("libvirtd") == 1)
    #expect(BrokerProcess.accepts(unix: scene.sockets + "/libvirt-sock"))
    scene.end()
  }

  @Test("the error for a daemon that exits says so")
  func failing() async throws {
    let scene = try UserScene(daemons: ["virtqemud": "#!/bin/sh\nexit 7\n"])
    try scene.ready("libvirt-sock")
    for _ in 0..<2 {
      let result = try await scene.virsh("libvirt-sock", "list")
      #expect(result.status == 1)
      #expect(
        result.errors.contains("virtqemud exited with status 7 before it accepted connections"),
        "\(result.errors) \(scene.log)")
    }
    scene.end()
  }
}
