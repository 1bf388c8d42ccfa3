// Many threads of a client on one connection.
import Testing

@Suite("Threads", Lab.isPossible, .inTurn)
struct ThreadTests {
  @Test(
    "twenty threads on one connection each get the replies to their own calls",
    arguments: Place.all)
  func twenty(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    try await lab.guest("asked")
    let pool = "threads-\(place.way)"
    try await lab.pool(pool)
    try await python("threads.py", [broker.uri(place.way), pool, "asked"])
  }
}
