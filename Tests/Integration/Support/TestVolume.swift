// A storage volume of a lab, for tests that read or write one.
import Foundation

/// A raw volume in a directory pool of its own. It is sparse, so it uses no space until it is written.
struct TestVolume: Sendable {
  let pool: String
  let name = "volume"
  /// The path of its file on the host.
  let path: String

  /// Creates the pool and an empty volume of `bytes` bytes.
  init(in lab: Lab, bytes: Int = 1 << 20) async throws {
    let directory = try Scratch.directory("v")
    pool = "faults-" + URL(fileURLWithPath: directory).lastPathComponent
    path = directory + "/" + name
    guard FileManager.default.createFile(atPath: path, contents: nil), truncate(path, bytes) == 0
    else { throw Trouble("cannot make \(path): \(errnoText())") }
    let uri = lab.directURI("storage")
    try await virshOutput(uri, "pool-create-as", pool, "dir", "--target", directory)
  }
}
