// Descriptors that pass through the broker's UNIX socket in both directions.
import Foundation
import Testing

@Suite("Descriptors", Lab.isPossible, .inTurn)
struct DescriptorTests {
  @Test(
    "a client receives a display's descriptor and sends a disk's", arguments: Lab.Layout.allCases
  )
  func bothWays(_ layout: Lab.Layout) async throws {
    let (lab, broker) = try await Place(layout: layout, way: .unix).ready()
    try await lab.guest("shown")
    let disk = try Scratch.directory("disk") + "/from-descriptor"
    try FileManager.default.copyItem(atPath: lab.directory + "/guest.img", toPath: disk)
    try await python("descriptors.py", [broker.unixURI(), "shown", disk])
  }
}
