// A pool that takes its segments from another pool.
import Testing

@testable import Streams

@Suite("shared segment pool")
struct SharedPoolTests {
  @Test("it counts the segments of its own holders and returns them to their origin")
  func counts() {
    let parent = SegmentPool(capacity: 128)
    let (one, two) = (SegmentPool(sharing: parent), SegmentPool(sharing: parent))
    let first = one.take()
    let second = two.take()
    let third = two.take()
    first.hold()
    #expect([one.heldCount, two.heldCount, parent.heldCount] == [1, 2, 3])
    one.release(first)
    #expect(one.heldCount == 1, "somebody still has it")
    one.release(first)
    two.release(second)
    two.release(third)
    #expect([one.heldCount, two.heldCount, parent.heldCount] == [0, 0, 0])
    #expect(parent.spareCount == 3 && one.spareCount == 0)
  }
}
