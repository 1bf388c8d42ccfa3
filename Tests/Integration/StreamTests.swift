// Concurrent streams on one connection, and streams that end early.
import Testing

@Suite("Streams", Lab.isPossible, .inTurn)
struct StreamTests {
  @Test("sixteen streams of four kinds share a connection", arguments: Place.all)
  func sixteen(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let guests = (1...3).map { "busy\($0)-\(place.way)" }
    for guest in guests { try await lab.guest(guest) }
    let pool = "streams-\(place.way)"
    try await lab.pool(pool)
    try await python("streams.py", [broker.uri(place.way), pool, guests[0], guests[1], guests[2]])
  }

  @Test(
    "after either side has ended a stream early the connection remains usable",
    arguments: Place.all)
  func abort(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let guest = "mortal-\(place.way)"
    try await lab.guest(guest)
    let pool = "aborts-\(place.way)"
    try await lab.pool(pool)
    try await python("abort.py", [broker.uri(place.way), pool, guest])
  }
}
