// Calls between the synthetic ends, and the pattern that checks streams.
import Foundation
import Streams
import Testing

@testable import Ends

@Suite("Calls between the synthetic ends")
struct CallTests {
  @Test(
    "every call is answered and timed, at any number of concurrent calls", arguments: [1, 5, 4096])
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

  @Test("at a rate, every scheduled call is answered, and none before its time")
  func rate() throws {
    let client = try Stage().client()
    var times: [UInt64] = []
    let start = now()
    try client.call(at: Schedule(from: start, perSecond: 1000), seconds: 0.2) { times.append($0) }
    #expect(times.count == 200)
    #expect(now() - start >= 199_000_000)
    #expect(times.allSatisfy { $0 < now() - start })
    try client.close()
  }

  @Test("the latency of calls delayed by a stall counts from their scheduled time")
  func correction() throws {
    // The schedule began a tenth of a second ago, as if the daemon had stalled for that time.
    let client = try Stage().client()
    var times: [UInt64] = []
    let stall: UInt64 = 100_000_000
    let start = now() - stall
    try client.call(at: Schedule(from: start, perSecond: 1000), seconds: 0.2) { times.append($0) }
    #expect(times.count == 200)
    let late = times.filter { $0 > 1_000_000 }
    // The first call waited for the whole stall, later calls for the rest of it.
    #expect(times[0] >= stall)
    #expect(late.count >= 95)
    for (index, time) in times.prefix(100).enumerated() {
      #expect(time >= stall - UInt64(index) * 1_000_000)
    }
    try client.close()
  }

  @Test("a held call is answered after its delay, and other calls before it")
  func held() throws {
    let client = try Stage().client()
    let start = now()
    let slow = client.nextCall(Call.domainLookupByName)
    try client.outflow.put(Packets.make(slow, TextBody("hold=200")))
    let fast = client.nextCall(Call.domainLookupByName)
    try client.outflow.put(Packets.make(fast, TextBody("hold=50")))
    let plain = client.nextCall(Call.getLibVersion)
    try client.outflow.put(plain)
    try client.outflow.flush()
    var answered: [UInt32] = []
    while answered.count < 3, let header = try client.inflow.header() {
      answered.append(header.serial)
      if header.serial == fast.serial { #expect(now() - start >= 50_000_000) }
      try client.check(header)
    }
    #expect(answered == [plain.serial, fast.serial, slow.serial])
    #expect(now() - start >= 200_000_000)

    // A download continues meanwhile, and the call after the held one is not delayed.
    let third = client.nextCall(Call.domainLookupByName)
    try client.outflow.put(Packets.make(third, TextBody("hold=100")))
    try client.download(bytes: 50_000_000, isChecking: true)
    try client.callHeld(milliseconds: 1)
    try client.close()
  }

  @Test("the calls that libvirt's client makes on opening and closing get the replies it expects")
  func opening() throws {
    let client = try Stage().client()
    func ask<Body: XDRBody>(_ procedure: Int32, _ arguments: some XDRBody, _: Body.Type) throws
      -> Body
    {
      try client.call(Packets.make(client.nextCall(procedure), arguments))
      return try client.decode(Body.self)
    }
    let feature = FeatureArguments(feature: 14)
    #expect(try ask(Remote.connectSupportsFeature, feature, FeatureResult.self).supported == 1)
    #expect(try ask(Remote.connectGetURI, WordsBody(), GetURIResult.self).uri == "qemu:///system")
    #expect(try ask(Call.getType, WordsBody(), TextBody.self).text == "QEMU")
    #expect(try ask(Call.getLibVersion, WordsBody(), WordsBody.self).words == [0, 9_000_000])
    #expect(try ask(Call.poolLookupByName, TextBody("p"), PoolBody.self).name == "p")
    for void in [
      Remote.connectRegisterCloseCallback, Remote.connectUnregisterCloseCallback,
    ] {
      #expect(try ask(void, WordsBody(), WordsBody.self).words.isEmpty)
    }
    // An unknown call gets an error with the text that libvirt's client looks for.
    #expect {
      _ = try ask(9999, WordsBody(), WordsBody.self)
    } throws: {
      "\($0)".contains("unknown procedure: 9999")
    }
    try client.close()
  }

  @Test("an address is written as it is parsed")
  func places() {
    #expect(Place("unix:/run/sock") == .unix(path: "/run/sock"))
    #expect(Place("tcp:127.0.0.1:16509") == .tcp(host: "127.0.0.1", port: "16509"))
    #expect(Place("tcp:[::1]:16509") == .tcp(host: "::1", port: "16509"))
    #expect(Place("tcp:[::1]:16509")?.description == "tcp:[::1]:16509")
    #expect(Place("tls:host:16514") == .tls(host: "host", port: "16514"))
    #expect(Place("tls:[::1]:16514")?.description == "tls:[::1]:16514")
    for wrong in ["", "unix:", "tcp:", "tcp:host", "tls:host", "qemu:///system"] {
      #expect(Place(wrong) == nil)
    }
  }

  @Test("the pattern detects a changed byte, a shift, and another block's number")
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
    // Each part of the pattern is recognised by itself.
    for offset in [1, 1000, Pattern.plain - 1, Pattern.plain, Pattern.plain + 3] {
      block.withUnsafeBytes {
        #expect(
          Pattern.matches(
            UnsafeRawBufferPointer(rebasing: $0[offset...]), at: place + UInt64(offset)))
      }
    }
  }
}
