// Serial consoles through the broker, with guests that echo.
import Testing

@Suite("Consoles", Lab.isPossible, .inTurn)
struct ConsoleTests {
  @Test("a mebibyte that is sent without pause is echoed completely", arguments: Place.crossed)
  func mebibyte(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    try await lab.guest("typist")
    try await python("echo.py", [broker.uri(place.way), "\(1 << 20)", "typist"])
  }

  @Test("the consoles of two guests are used concurrently", arguments: Place.all)
  func two(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let guests = ["left-\(place.way)", "right-\(place.way)"]
    for guest in guests { try await lab.guest(guest) }
    try await python("echo.py", [broker.uri(place.way), "20000", guests[0], guests[1]])
  }

  @Test("a console in use is refused, unless the client forces it", arguments: Place.all)
  func takeover(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let guest = "fought-over-\(place.way)"
    try await lab.guest(guest)
    try await python("takeover.py", [broker.uri(place.way), guest])
  }
}
