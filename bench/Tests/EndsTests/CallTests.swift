// Calls between the synthetic ends, and the pattern they check with.
import Foundation
import Testing

@testable import Ends

@Suite("Calls between the synthetic ends")
struct CallTests {
  @Test("every call is answered and timed, however many are under way", arguments: [1, 5, 4096])
  func calls(depth: Int) throws {
    let client = try Stage().client()
    var count = 0
    var longest: UInt64 = 0
    let start = now()
    try client.callRepeatedly(depth: depth, seconds: 0.05) {
      count += 1
      longest = max(longest, $0)
    }
    #expect(count >= depth)
    #expect(longest > 0 && longest <= now() - start)
    try client.close()
  }

  @Test("a place is written as it is read")
  func places() {
    #expect(Place("unix:/run/sock") == .unix(path: "/run/sock"))
    #expect(Place("tcp:127.0.0.1:16509") == .tcp(host: "127.0.0.1", port: "16509"))
    #expect(Place("tcp:[::1]:16509") == .tcp(host: "::1", port: "16509"))
    #expect(Place("tcp:[::1]:16509")?.description == "tcp:[::1]:16509")
    for wrong in ["", "unix:", "tcp:", "tcp:host", "qemu:///system"] {
      #expect(Place(wrong) == nil)
    }
  }

  @Test("the pattern notices a changed byte, a shift, and another block's number")
  func pattern() {
    var block = [UInt8](UnsafeRawBufferPointer(start: Pattern.bytes, count: Pattern.block))
    block.replaceSubrange(Pattern.plain..., with: [0, 0, 0, 0, 0, 0, 0, 7])
    func matches(at position: UInt64) -> Bool {
      block.withUnsafeBytes { Pattern.matches($0, at: position) }
    }
    let place = UInt64(7 * Pattern.block)
    #expect(matches(at: place))
    #expect(!matches(at: place + 1))
    #expect(!matches(at: UInt64(6 * Pattern.block)))
    for offset in [0, 1, Pattern.plain - 1, Pattern.plain, Pattern.block - 1] {
      block[offset] ^= 0x80
      #expect(!matches(at: place))
      block[offset] ^= 0x80
    }
    // Any part of it is recognised by itself.
    for offset in [1, 1000, Pattern.plain - 1, Pattern.plain, Pattern.plain + 3] {
      block.withUnsafeBytes {
        #expect(
          Pattern.matches(
            UnsafeRawBufferPointer(rebasing: $0[offset...]), at: place + UInt64(offset)))
      }
    }
  }
}
