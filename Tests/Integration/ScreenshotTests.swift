// A guest's screen through the broker.
import Foundation
import Testing

@Suite("Screenshots", Lab.isPossible, .inTurn)
struct ScreenshotTests {
  @Test("a screenshot equals the one that libvirtd itself returns", arguments: Place.all)
  func same(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    try await lab.guest("painted")
    let directory = try Scratch.directory("screens")
    // The guest's screen does not change, so the pictures are identical.
    var pictures: [Data] = []
    var said: [String] = []
    for (name, uri) in [("direct", lab.directURI()), ("relayed", broker.uri(place.way))] {
      let file = "\(directory)/\(name)"
      said.append(
        try await virshOutput(uri, "screenshot", "painted", file).replacing(name, with: "file"))
      pictures.append(try Data(contentsOf: URL(fileURLWithPath: file)))
    }
    #expect(pictures[0] == pictures[1])
    #expect(said[0] == said[1])
    #expect(pictures[1].starts(with: [0x89, 0x50, 0x4e, 0x47]), "a PNG")
    // An empty screen of this size compresses to a few hundred bytes.
    #expect(pictures[1].count > 5000, "the screen is not blank")
  }
}
