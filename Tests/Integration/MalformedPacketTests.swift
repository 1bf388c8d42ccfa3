// Malformed packets end their connection or get a reply, exactly as with libvirtd.
import Foundation
import Streams
import Testing

/// A kind of malformed packet, and the protocol's rule for it.
struct Nonsense: Sendable, CustomTestStringConvertible {
  enum Reaction: Equatable { case closed, dropped, answered }

  let testDescription: String
  let reaction: Reaction
  /// Whether it is sent after CONNECT_OPEN has succeeded.
  var isOpen = true
  /// The bytes, for a client whose next serial is unused.
  let bytes: @Sendable (RawClient) -> [UInt8]

  init(
    _ name: String, _ reaction: Reaction, isOpen: Bool = true,
    _ bytes: @escaping @Sendable (RawClient) -> [UInt8]
  ) {
    testDescription = name
    self.reaction = reaction
    self.isOpen = isOpen
    self.bytes = bytes
  }

  /// A packet with a body of zeros and any value in each word of its header.
  private static func packet(
    _ client: RawClient, length: UInt32? = nil, program: UInt32 = Program.remote,
    version: UInt32 = 1, procedure: Int32 = 157, kind: UInt32 = 0, status: UInt32 = 0,
    body: [UInt8] = []
  ) -> [UInt8] {
    var header = client.header(procedure, program: program, version: version)
    header.kind = PacketKind(rawValue: kind)
    header.status = PacketStatus(rawValue: status)
    header.length = length ?? UInt32(Limits.header + body.count)
    return RawClient.words(header) + body
  }

  static func word(_ value: UInt32) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  static let all: [Nonsense] = lengths + kinds + streams + programs + descriptors + bodies

  static let lengths: [Nonsense] =
    ([0, 3, 4, 27, 33_554_437, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as [UInt32]).flatMap {
      length in
      [true, false].map { isOpen in
        Nonsense("length \(length)\(isOpen ? "" : " as the first packet")", .closed, isOpen: isOpen)
        {
          packet($0, length: length)
        }
      }
    } + [
      Nonsense("another protocol", .closed, isOpen: false) { _ in
        Array("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
      }
    ]

  static let kinds: [Nonsense] =
    ([1, 2, 5, 7, 8, 255, 0x8000_0000, 0xffff_ffff] as [UInt32]).map { kind in
      Nonsense("type \(kind) from a client", .dropped) { packet($0, kind: kind) }
    } + [
      Nonsense("keepalive message of an unknown number", .dropped) {
        packet($0, program: Program.keepAlive, procedure: 99, kind: 2)
      },
      Nonsense("unasked PONG", .dropped) {
        packet($0, program: Program.keepAlive, procedure: 2, kind: 2)
      },
      Nonsense("event of an unknown program", .dropped) {
        packet($0, program: 0x1234_5678, procedure: 1, kind: 2)
      },
    ]
    + ([1, 2, 7, 0xffff_ffff] as [UInt32]).map { status in
      Nonsense("call with status \(status)", .answered) { packet($0, status: status) }
    }

  static let streams: [Nonsense] =
    ([0, 1, 2, 7] as [UInt32]).flatMap { status in
      [
        Nonsense("packet of status \(status) for no stream", .dropped) {
          packet($0, procedure: 209, kind: 3, status: status, body: [1, 2, 3, 4, 5])
        },
        Nonsense("hole of status \(status) for no stream", .dropped) {
          packet(
            $0, procedure: 208, kind: 6, status: status,
            body: word(0) + word(4096) + word(0))
        },
        Nonsense("stream packet of status \(status) of an unknown program", .dropped) {
          packet($0, program: 0x1234_5678, procedure: 209, kind: 3, status: status)
        },
      ]
    }

  static let programs: [Nonsense] =
    [
      Nonsense("unknown program", .answered) { packet($0, program: 0x1234_5678) },
      Nonsense("program beyond 2^31", .answered) { packet($0, program: 0xffff_fffe) },
      Nonsense("the admin program", .answered) { packet($0, program: 0x0690_0690, procedure: 1) },
      Nonsense("keepalive as a call", .answered) {
        packet($0, program: Program.keepAlive, procedure: 1)
      },
      Nonsense("unknown version", .answered) { packet($0, version: 2) },
      Nonsense("version beyond 2^31", .answered) { packet($0, version: 0xffff_ffff) },
      Nonsense("program and version beyond 2^31", .answered) {
        packet($0, program: 0xffff_fffe, version: 0x8000_0000)
      },
      Nonsense("unknown version before the connection is open", .answered, isOpen: false) {
        packet($0, version: 0xffff_ffff)
      },
      Nonsense("version 0 of the QEMU program", .answered) {
        packet($0, program: Program.qemu, version: 0, procedure: 1)
      },
    ]
    + ([0, -1, 100_000, Int32.max, Int32.min, 318, 362] as [Int32]).map { procedure in
      Nonsense("procedure \(procedure), which is none to call", .answered) {
        packet($0, procedure: procedure)
      }
    }
    + ([Program.qemu, Program.lxc] as [UInt32]).map { program in
      Nonsense("procedure 77 of program \(program)", .answered) {
        packet($0, program: program, procedure: 77)
      }
    }

  static let descriptors: [Nonsense] = [
    Nonsense("call with no descriptors that says so", .answered) {
      packet($0, kind: 4, body: word(0))
    },
    Nonsense("call with more descriptors than 32", .closed) { packet($0, kind: 4, body: word(33)) },
    Nonsense("call with 4294967295 descriptors", .closed) {
      packet($0, kind: 4, body: word(0xffff_ffff))
    },
    Nonsense("call with descriptors without their number", .closed) { packet($0, kind: 4) },
    Nonsense("call with a descriptor for which a plain byte comes", .closed) {
      packet($0, kind: 4, body: word(1)) + [0]
    },
  ]

  static let bodies: [Nonsense] =
    // DOMAIN_LOOKUP_BY_NAME takes a string.
    [
      Nonsense("arguments that end too early", .answered) { packet($0, procedure: 23) },
      Nonsense("a string longer than its packet", .answered) {
        packet($0, procedure: 23, body: word(100) + [1, 2, 3, 4])
      },
      Nonsense("a string longer than any may be", .answered) {
        packet($0, procedure: 23, body: word(0xffff_ffff) + [1, 2, 3, 4])
      },
      Nonsense("bytes behind the arguments", .answered) {
        packet($0, procedure: 23, body: word(2) + [0x78, 0x79, 0, 0] + [9, 9, 9, 9, 9])
      },
      Nonsense("an upload without arguments", .answered) { packet($0, procedure: 208) },
      Nonsense("feature without a number", .answered) { packet($0, procedure: 60) },
      Nonsense("open without arguments", .answered, isOpen: false) { packet($0, procedure: 1) },
      Nonsense("open with a name longer than its packet", .answered, isOpen: false) {
        packet($0, procedure: 1, body: word(1) + word(4096) + word(0))
      },
      Nonsense("a second open without arguments", .answered) { packet($0, procedure: 1) },
    ]
    + [true, false].flatMap { isOpen in
      [
        Nonsense("identity without arguments\(isOpen ? "" : ", early")", .answered, isOpen: isOpen)
        {
          packet($0, procedure: 419)
        },
        Nonsense("identity with 21 fields\(isOpen ? "" : ", early")", .answered, isOpen: isOpen) {
          packet($0, procedure: 419, body: word(21) + [UInt8](repeating: 0, count: 400))
        },
        Nonsense("identity of no fields\(isOpen ? "" : ", early")", .answered, isOpen: isOpen) {
          packet($0, procedure: 419, body: word(0) + word(0))
        },
        Nonsense("identity of 5 MiB\(isOpen ? "" : ", early")", .answered, isOpen: isOpen) {
          packet($0, procedure: 419, body: word(1) + word(9) + large)
        },
        Nonsense(
          "feature 10 with 5 MiB behind\(isOpen ? "" : ", early")", .answered, isOpen: isOpen
        ) {
          packet($0, procedure: 60, body: word(10) + large)
        },
        Nonsense(
          "an unknown program with 5 MiB\(isOpen ? "" : ", early")", .answered, isOpen: isOpen
        ) {
          packet($0, program: 0x1234_5678, body: large)
        },
        Nonsense("AUTH_LIST with 5 MiB\(isOpen ? "" : ", early")", .answered, isOpen: isOpen) {
          packet($0, procedure: 66, body: large)
        },
      ]
    } + [
      Nonsense("open with a name of 5 MiB", .answered, isOpen: false) {
        packet($0, procedure: 1, body: word(1) + word(UInt32(large.count)) + large + word(0))
      },
      Nonsense("a call that has to be passed on, with 5 MiB, early", .answered, isOpen: false) {
        packet($0, body: large)
      },
    ]

  private static let large = [UInt8](repeating: 0x41, count: 5 << 20)
}

@Suite("Malformed packets", Lab.isPossible)
struct MalformedPacketTests {
  /// A server's reaction: its replies as text, and whether it closed the connection.
  struct Outcome: Equatable, CustomStringConvertible {
    var answers: [String] = []
    var isClosed = false
    var description: String {
      (answers + [isClosed ? "closed" : "goes on"]).joined(separator: "; ")
    }
  }

  /// Sends the malformed packet, records the reaction, and checks whether the connection still works.
  static func outcome(of nonsense: Nonsense, on client: RawClient) throws -> Outcome {
    if nonsense.isOpen { try client.open() } else { try client.call(Remote.authList) }
    var outcome = Outcome()
    try client.send(nonsense.bytes(client))
    if nonsense.reaction == .closed {
      outcome.answers = try client.awaitEnd().map(\.description)
      outcome.isClosed = true
      #expect(client.rest == 0, "no part of a packet is left")
      return outcome
    }
    if nonsense.reaction == .answered {
      guard let answer = try client.receive() else {
        outcome.isClosed = true
        return outcome
      }
      outcome.answers.append(answer.description)
    }
    // AUTH_LIST is always answered, so earlier replies arrive before its reply.
    let probe = client.header(Remote.authList)
    // On a closed connection this fails, and the loop below detects it.
    try? client.send(Packets.make(probe))
    while let packet = try client.receive() {
      if packet.answers(probe.serial) { return outcome }
      outcome.answers.append(packet.description)
    }
    outcome.isClosed = true
    return outcome
  }

  @Test("the reaction is libvirtd's, and other clients are not affected", arguments: Way.allCases)
  func sameAsDirect(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      let bystander = try broker.client()
      try bystander.open()
      for nonsense in Nonsense.all {
        let direct = try Self.outcome(of: nonsense, on: try lab.client())
        let brokered = try Self.outcome(of: nonsense, on: try broker.client(way))
        #expect(brokered == direct, "\(nonsense.testDescription)")
        #expect(direct.isClosed == (nonsense.reaction == .closed), "\(nonsense.testDescription)")
        #expect(direct.answers.count == (nonsense.reaction == .answered ? 1 : 0))
        #expect(try bystander.call(59).header.status == .ok)
      }
    }
    try await broker.stop()
    let closed = Nonsense.all.count { $0.reaction == .closed }
    let lines = broker.log.split(separator: "\n").count { $0.contains("VB-PKT-001") }
    #expect(lines == closed, "each connection that was closed is logged once with its reason")
  }

  /// Values outside 28...33554436, near the limits and far from them.
  static let impossible: [UInt32] = [
    0, 1, 3, 4, 5, 27, 33_554_437, 0x0200_0100, 0x1603_0101, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
  ]

  @Test("an invalid length closes the connection after its four bytes")
  func fourBytes() async throws {
    let scene = try await Scene { line, _ in
      // The same from a daemon: a client's call fails at once.
      try line.send(Nonsense.word(27))
      return true
    }
    let broker = scene.broker
    try await blocking {
      for length in Self.impossible {
        let word = Nonsense.word(length)
        for way in Way.allCases {
          for isOpen in [true, false] {
            let client = try broker.client(way)
            if isOpen { try client.open() }
            try client.send(word)
            #expect(try client.awaitEnd().isEmpty, "\(length) by \(way)")
          }
        }
        let administrator = try broker.admin.client()
        try administrator.send(word)
        #expect(try administrator.awaitEnd().isEmpty, "\(length) by the admin socket")
      }
      let client = try broker.client()
      try client.open()
      #expect(
        try client.call(59).error?.message?.contains("packet length 27 is not between") == true)
    }
    try await scene.end()
  }

  @Test("a large admin call gets libvirtd's reply")
  func largeAdminCall() async throws {
    let lab = try await Lab.shared(.mono, for: "admin")
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      func answers(_ admin: AdminSocket) throws -> [String] {
        let client = try admin.client()
        let body = [UInt8](repeating: 0x41, count: 5 << 20)
        // Arguments that are too long, a call without arguments, and an unknown call.
        return try ([5, 3, 999] as [Int32]).map { procedure in
          let header = client.header(procedure, program: Program.admin)
          let reply = try client.call(header, RawClient.packet(header, body))
          return reply.error == nil ? "\(reply.header.status)" : "\(reply)"
        }
      }
      let (ours, real) = (try answers(broker.admin), try answers(lab.admin))
      #expect(ours == real)
    }
    try await broker.stop()
  }

  @Test(
    "a daemon's refusal of CONNECT_OPEN that repeats a long name reaches the client",
    arguments: Way.allCases)
  func longRefusal(way: Way) async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    let name = String(repeating: "x", count: 250_000)
    let refusal = RemoteError(.invalidArgument, "no such thing: \(name)")
    scene.backend.refusal = refusal
    try await blocking {
      let client = try broker.client(way)
      try client.call(Remote.authList)
      let open = ConnectOpenArguments(name: "qemu:///system", flags: 0)
      #expect(try client.call(Remote.connectOpen, open).error == refusal)
      scene.backend.refusal = nil
      #expect(try client.call(Remote.connectOpen, open).header.status == .ok)
    }
    try await scene.end()
  }

  @Test(
    "concurrent calls with one serial all get replies, as from libvirtd",
    arguments: Way.allCases)
  func oneSerial(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let volume = try await TestVolume(in: lab, bytes: 1 << 20)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      for client in [try lab.client(), try broker.client(way)] {
        try client.open()
        // Together with a stream of the same serial.
        let stream = try client.openStream(
          Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
        let procedures: [Int32] = [59, 157, 59, 157]
        for procedure in procedures {
          try client.send(
            Packets.make(PacketHeader(procedure: procedure, kind: .call, serial: stream.serial)))
        }
        var answered: [Int32] = []
        while answered.count < procedures.count {
          let reply = try client.receive("a reply") { $0.header.kind == .reply }
          #expect(reply.header.status == .ok && reply.header.serial == stream.serial)
          answered.append(reply.header.procedure)
        }
        #expect(answered.sorted() == procedures.sorted())
        #expect(try client.end(stream).header.status == .ok)
        #expect(try client.call(59).header.status == .ok)
      }
      // The broker cannot tell the packets of two such streams apart, so the second call fails.
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      var again = stream
      again.kind = .call
      again.status = .ok
      try client.send(
        Packets.make(
          again,
          VolumeTransferArguments(
            pool: volume.pool, name: volume.name, key: volume.name, offset: 0, length: 0, flags: 0))
      )
      let refusal = try client.receive("the refusal") { $0.header.kind == .reply }
      #expect(refusal.error?.message?.contains("open stream of this procedure") == true)
      #expect(try client.end(stream).header.status == .ok)
    }
    try await broker.stop()
  }

  @Test(
    "the largest valid length is accepted like any other", arguments: Way.allCases)
  func largest(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      for client in [try lab.client(), try broker.client(way)] {
        try client.open()
        // An unknown procedure with the largest possible body: all 32 MiB are read.
        var header = client.header(100_000)
        header.length = UInt32(Limits.packet)
        let zeros = [UInt8](repeating: 0, count: Limits.packet - Limits.header)
        try client.send(RawClient.words(header) + zeros)
        let reply = try client.receive("the refusal") { $0.answers(header.serial) }
        #expect(reply.error?.message == "unknown procedure: 100000")
        #expect(try client.call(59).header.status == .ok)
      }
    }
    try await broker.stop()
  }

  @Test("a call with descriptors over TCP closes the connection")
  func descriptorOverTCP() async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      for count: UInt32 in [1, 2, 32] {
        let client = try broker.client(.tcp)
        try client.open()
        let call = client.header(249, kind: .callWithDescriptors)
        let number = withUnsafeBytes(of: count.bigEndian) { Array($0) }
        try client.send(RawClient.packet(call, number) + [0])
        #expect(try client.awaitEnd().isEmpty)
      }
      let other = try broker.client(.tcp)
      try other.open()
      #expect(try other.call(59).header.status == .ok)
    }
    try await broker.stop()
  }

  @Test("a hole on a stream that is not sparse closes the connection", arguments: Way.allCases)
  func hole(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let volume = try await TestVolume(in: lab)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      for client in [try lab.client(), try broker.client(way)] {
        try client.open()
        var stream = try client.openStream(
          Remote.storageVolUpload, pool: volume.pool, volume: volume.name)
        stream.kind = .streamHole
        try client.send(Packets.make(stream, StreamHole(length: 4096)))
        #expect(try client.awaitEnd().isEmpty)
      }
    }
    try await broker.stop()
  }

  @Test(
    "an incomplete packet is dropped when its client has disconnected", arguments: Way.allCases)
  func halfAPacket(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      let bystander = try broker.client()
      try bystander.open()
      let before = settledDescriptorCount(of: broker.pid)
      let whole = Packets.make(
        PacketHeader(procedure: Remote.connectOpen, kind: .call, serial: 9),
        ConnectOpenArguments(name: "qemu:///system", flags: 0))
      for cut in whole.indices {
        let client = try broker.client(way)
        if cut % 2 == 0 { try client.open() }
        try client.send(Array(whole[..<cut]))
      }
      #expect(eventually { broker.descriptorCount == before })
      #expect(try bystander.call(59).header.status == .ok)
    }
    try await broker.stop()
  }
}
