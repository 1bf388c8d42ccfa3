// virtbench endpoint: only the synthetic daemon.
import ArgumentParser
import Ends

struct EndpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "endpoint",
    abstract: "Serves as a synthetic libvirt daemon on a UNIX socket until it is ended.",
    discussion: """
      Put it behind a relay instead of libvirtd, so that the way is measured and not the daemon. It \
      answers what relays and libvirt's own clients ask on opening, finds any domain, pool and \
      volume by name, sends downloads, takes uploads and tunnelled migrations, and echoes consoles. \
      Three names mean something. Looking up the domain hold=N is answered after N milliseconds. A \
      download of the volume message=N comes in packets that carry N bytes; others come as --size \
      says, or as libvirt sends files: 262120 and 24 bytes in turn. A callback for lifecycle events of \
      the domain events=N gets N of them a second.

      Example, and then a call that takes a second and a half:

        virtbench endpoint /tmp/bench/libvirt-sock

        virsh -c 'qemu+unix:///system?socket=/tmp/bench/libvirt-sock' domid hold=1500
      """)

  @Argument(help: "Path of the socket; what was left there is replaced.")
  var path: String

  @Option(help: "Bytes of a download that asks for everything.")
  var volumeBytes: UInt64 = 1 << 30

  @Option(
    help: ArgumentHelp(
      "Bytes that a packet of a download carries, up to \(Transfer.largestMessage).",
      valueName: "bytes"))
  var size: Int?

  @Flag(help: "Compare uploads with what virtbench sends, and fail those that differ.")
  var check = false

  @Flag(
    help: ArgumentHelp(
      "Begin each connection with the byte 1, as a libvirt TLS server does after its handshake.",
      discussion: "For a relay in front that ends TLS and knows nothing of libvirt."))
  var welcome = false

  func validate() throws {
    if let size, !(1...Transfer.largestMessage).contains(size) {
      throw ValidationError(
        "size must be 1 to \(Transfer.largestMessage), the most a packet of the protocol carries")
    }
  }

  func run() throws {
    raiseFileLimit()
    try Endpoint(
      path: path, volumeBytes: volumeBytes, message: size, isChecking: check, isWelcoming: welcome
    ).run()
  }
}
