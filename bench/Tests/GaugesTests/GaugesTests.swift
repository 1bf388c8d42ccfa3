// The gauges give correct figures.
import Ends
import Foundation
import Testing

@testable import Gauges

@Suite("Gauges")
struct GaugesTests {
  @Test(
    "a quantile of the latencies equals that of the sorted values, to one part in 1000",
    arguments: 0..<20
  )
  func quantiles(seed: UInt64) {
    var state = seed &+ 1
    var (latencies, other) = (Latencies(), Latencies())
    var values: [UInt64] = []
    for _ in 0..<2000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      // Values of all magnitudes, from nanoseconds to more than an hour.
      let value = (state ^ state >> 29) >> (22 + state % 42)
      values.append(value)
      if values.count % 2 == 0 { latencies.add(value) } else { other.add(value) }
    }
    latencies.add(other)
    values.sort()
    for quantile in [0.001, 0.01, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = values[Int((Double(values.count) * quantile).rounded(.up)) - 1]
      let found = latencies.value(at: quantile)
      #expect(found >= exact && found - exact <= exact / 1000)
    }
    #expect(latencies.count == 2000)
  }

  @Test("no duration is lost, and without durations the quantiles are 0")
  func extremes() {
    var latencies = Latencies()
    #expect(latencies.value(at: 0.99) == 0)
    latencies.add(.max)
    latencies.add(0)
    #expect(latencies.count == 2)
    #expect(latencies.value(at: 1) >= Latencies.longest)
    #expect(latencies.value(at: 0.1) == 0)
    let quantiles = Quantiles(latencies)
    #expect(quantiles.count == 2 && quantiles.p50 == 0 && quantiles.max > 4e9)
  }

  @Test("memory that a process fills counts for it and for its parent")
  func memory() throws {
    let size = 32 << 20
    // A separate process, because this process's other tests allocate and free memory meanwhile.
    let program = "import time; room = bytearray(b'1') * \(size); time.sleep(30)"
    let filling = try Child("/usr/bin/python3", ["-c", program])
    defer { filling.stop() }
    let idle = try Child("/bin/sleep", ["30"])
    defer { idle.stop() }
    var own = try #require(Memory(of: filling.pid))
    for _ in 0..<1000 where own.proportional <= size {
      usleep(10_000)
      own = try #require(Memory(of: filling.pid))
    }
    #expect(own.resident >= size && own.proportional >= size)
    #expect(own.resident < 4 * size)
    #expect(try #require(Memory(of: getpid())).resident > own.resident)
    let other = try #require(Memory(of: idle.pid))
    #expect(other.resident > 0 && other.resident < size)
    #expect(Memory(of: pid_t.max) == nil)
  }

  @Test("median and quartiles do not depend on the order of the figures")
  func spread() throws {
    let spread = try #require(Spread([5, 1, 4, 2, 3]))
    #expect(spread.median == 3)
    #expect(spread.lowerQuartile == 2)
    #expect(spread.upperQuartile == 4)
    #expect(spread.least == 1 && spread.most == 5 && spread.count == 5)
    #expect(try #require(Spread([1, 2])).median == 1.5)
    #expect(Spread([]) == nil)
  }

  @Test("the clock counts the time of the process and its children, and of no other process")
  func clock() throws {
    let own = try #require(CPUClock(of: getpid()))
    let busy = try Child("/bin/sh", ["-c", "while :; do :; done"])
    defer { busy.stop() }
    let deadline = Date(timeIntervalSinceNow: 30)
    var used = 0.0
    while used < 0.2, Date() < deadline {
      usleep(10_000)
      used = try #require(CPUClock(of: busy.pid)).since(own)
    }
    #expect(used >= 0.2, "the child's own clock goes on")
    let both = try #require(CPUClock(of: getpid())).since(own)
    #expect(both >= used, "a parent's clock includes its child's")
  }

  @Test("the clock still counts a child that has ended")
  func buried() throws {
    let mark = FileManager.default.temporaryDirectory
      .appendingPathComponent("virtbench-test.\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: mark) }
    let loop = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    let parent = try Child(
      "/bin/sh", ["-c", "sleep 0.3; (\(loop)); : >\"$0\"; exec sleep 60", mark.path])
    defer { parent.stop() }
    let before = try #require(CPUClock(of: parent.pid))
    let deadline = Date(timeIntervalSinceNow: 60)
    while !FileManager.default.fileExists(atPath: mark.path), Date() < deadline { usleep(10_000) }
    let used = try #require(CPUClock(of: parent.pid)).since(before)
    #expect(used >= 0.05, "a child that looped 400,000 times used \(used) s")
  }

  @Test("ratios are paired by rounds, so a disturbance of a whole round does not change them")
  func paired() throws {
    let others: [Double?] = [1, 2, 8, 0.5, 3]
    let ratios = try #require(Spread(of: others.map { $0.map { $0 * 1.5 } }, to: others))
    #expect(ratios.median == 1.5 && ratios.least == 1.5 && ratios.most == 1.5)
    #expect(ratios.count == 5)
    // The ratio of the medians is 1 here; in three of the rounds the first is twice the other.
    let one: [Double?] = [2, 20, 30, 4, 6]
    let other: [Double?] = [1, 10, 60, 8, 3]
    #expect(try #require(Spread(of: one, to: other)).median == 2)
  }

  @Test("a round with a missing figure has no ratio")
  func unpaired() throws {
    let ratios = try #require(Spread(of: [1, nil, 6, 5, .nan], to: [2, 2, nil, 0, 1]))
    #expect(ratios.count == 1 && ratios.median == 0.5)
    #expect(Spread(of: [nil, 1], to: [1, nil]) == nil)
    #expect(Spread(of: [], to: []) == nil)
  }

  @Test("a process that does not exist has no clock")
  func noProcess() {
    #expect(CPUClock(of: pid_t.max) == nil)
  }
}
