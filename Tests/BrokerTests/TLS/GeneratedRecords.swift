// Written by scripts/generate-record-vectors; do not edit.
import CGnuTLS

/// A record of application data with its key, made by OpenSSL's ciphers.
struct GeneratedRecord: Sendable {
  static let payload = [UInt8](0x40..<0x65)

  let cipher: gnutls_cipher_algorithm_t
  let isModern: Bool
  let sequence: UInt64
  /// False: it has padding, or a nonce that is not its number, neither of which the broker writes.
  let isOwnForm: Bool
  let key: String
  let iv: String
  let record: String

  init(
    _ cipher: gnutls_cipher_algorithm_t, isModern: Bool, sequence: UInt64, isOwnForm: Bool,
    key: String, iv: String, record: String
  ) {
    self.cipher = cipher
    self.isModern = isModern
    self.sequence = sequence
    self.isOwnForm = isOwnForm
    self.key = key
    self.iv = iv
    self.record = record
  }

  static let all = [
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628b7e5ca0c9ec5140a",
      record: "170303003651d5e9f48f7295ecf7cc3eea636ac7c3a2bdfc1b9ba5bc6ed3db86bca3a739"
        + "8bf391a2a531074609fec7fa132deb606cff42c1ee4373"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628b7e5ca0c9ec5140a",
      record: "170303003656770b0afd111c43eba2a9b1b2f64fec0d341e6a75c2fbe7cc1dfa4b020c1d"
        + "e5aeb71e3eee0edec4f6a7d8a6f3a44dafd689c1464cf8"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: true,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628b7e5ca0c9ec5140a",
      record: "1703030036e711cf34a5b2b5990a8960107a4dd8dacf5d7e58413c3fe90a289e094c2d57"
        + "7b7852cf74bfb9a0409ddbc07efcbab592dcf477937963"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: true,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628b7e5ca0c9ec5140a",
      record: "17030300366741ae5aa59009fb36cec57f72436521d11ba9e589223ebe68d8f633d647f7"
        + "c24060eea2de96c297b83547565124841833eb07dcd5bc"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628b7e5ca0c9ec5140a",
      record: "1703030041b29f808c7d1c68d6553293f981046d066b208c33b5c9a61981be7c220214a4"
        + "811c6c3127d8eae2cd5900c08f7b676c0befabd2256ffb01cdf40c473bc0e845caef"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628",
      record: "170303003d000000000000000060a99a0d5935abb9dce0cda75eb2f6aface4d0404fb943"
        + "47ebd994e2318b2c0e7666627c4f9e4d91d222a8b4cb57590fbd181b425f"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628",
      record: "170303003d00000000000000016b53673ad1f5aa4646d4290788895c92dcfd0b6099fcaf"
        + "4d97fdbebeef5382428e5ace312e8eedfb50e39fd0f9fda96046e604de4d"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: false,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628",
      record: "170303003d0000000100000005c76acd3450aacd466add5de464cfe4c7e029a6dea4f7a2"
        + "dc0bae8b16b7d40d67d8cbd3c8cc63fe496c5abe4f4a99035fd1ae00093e"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: false,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628",
      record: "170303003d01020304050607085b4cb3cef0e31c8a51c60522eb8cbce9cd8d9aa1b11f88"
        + "6a8a051b92418743cc2c979e2aa992c553def1ed5138f8a14a19e25a8a84"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "b6436e81deae41c84d74fe15808aa2ee",
      iv: "93ae2628",
      record: "170303003df1e2d3c4b5a69788abf6a5aa9a493871a1523cb93156b8155a7dafb95c4ffc"
        + "9ae486af1c9bf7b2811f42e07ba0e13ea6594e0e4d0dc725351f9d1c16b5"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac085734c2a5c4130d5dab",
      record: "1703030036f283315b4a9b87148488d0f0e755ba7d455592227626b35c067ab91fc83579"
        + "6bd66320d188a0f49ddf9c187f7609eb844ff534d5c0a4"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac085734c2a5c4130d5dab",
      record: "17030300369eb99082106d8eda6cb3314242419392178526b0f6ef8cabaa4e53d518ced3"
        + "062046246bd1fd3a0b4e606c51ad7a2ae631b3855bf4ef"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: true,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac085734c2a5c4130d5dab",
      record: "170303003673ba80b06848d0bc6f41c4db20c9b0c7171c374c9fe7decfa9decb0400ac38"
        + "12750bb2930b604896b60f71e201ff3bdb2bfd791444f2"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: true,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac085734c2a5c4130d5dab",
      record: "1703030036312b6447659bfbcb742a4657b8034fde9dbb973eeea9f5af204cccb1ef9cfa"
        + "d5ecb6fc6e02ff67e2b8db914f2e3d462b24ee45cf6473"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: true,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac085734c2a5c4130d5dab",
      record: "170303004191c0d519ab43721ff10d49cf9843b248ec5e89e25b4a6f62e6fc9a0a187645"
        + "a8af289f47eacc8e98561685fa7222a2d0306fb1a74705a01cb7cc77ccca53509fe4"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac0857",
      record: "170303003d00000000000000006e0a3a8429949898a5cdce5ccb98364d49a38dbadbbf2b"
        + "733a965ca3a88b02072836f98fbda3c4935aee080935da460d5e9455cebd"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac0857",
      record: "170303003d0000000000000001553ae4f05a0dff8f9fdda8c2b9f32dfc399d2ad1c19895"
        + "b867492e154badb491d058dcb35b5e472a559bffe77b39d00be365117662"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: false,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac0857",
      record: "170303003d0000000100000005f4be74f57119dc7c763f4456f62666be2a8b62ca4c71d7"
        + "89b692f2cae7d0ec36628bfe823162704706e32663df02aae41d0942d366"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: false,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac0857",
      record: "170303003d010203040506070827f7e609492e1b85c2762ed852473e537a1f031ba0cdaa"
        + "48b2a511a6e6bff603aa91e9272477c9e76bf9980c49b16c541538740f20"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_GCM, isModern: false,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "cd8b457b615858358805e2f35eeb0c46d19be19dbd2c06c8ae5b583ac391831b",
      iv: "fdac0857",
      record: "170303003df1e2d3c4b5a69788cad6ca7b4c0e9c102efe8f5b052eb1883d271d4431b5c0"
        + "3ec363615137347246e68a1aae6ee1a9fce014976767c51dd2bdd1d697e8"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: true,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "17030300367e75a913eea28db2d3ac7a57c4c743256176648216011fc91e5f4b3cd4b7aa"
        + "c97ef53139e41f198cec766ba1ab0c94d07d26ef4d7432"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: true,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "1703030036cbe41cc399616d0fa0d113def1129913bb8258b00b902cabb3ee0cce190e26"
        + "29ebfac7203d086108ffa14f4c7106d9465f117c00f7f8"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: true,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "170303003623948a2ea41d26ce142c922e1e9ae7f5bce2599b7bfc3be0c1d5050a38f315"
        + "4531140947751f7a89e385bd13c7b10e700d2a2bc85c6c"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: true,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "1703030036b7a39654f0727557d2c84c3af3da2cbc611fa571926cb0fa49b13ee677ff2a"
        + "f9a9ca4d4a501210315292df0897fd4fe302011e9618b1"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: true,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "1703030041fd5aafde3a8c39610b1b466b109144ca468a00595241d8bfd399e53b297534"
        + "a17b42f15787361127bd84b8673fb2c29a6c93b6a2fecc215c42a06c61a0d22cf486"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: false,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "17030300357e75a913eea28db2d3ac7a57c4c743256176648216011fc91e5f4b3cd4b7aa"
        + "c97ef53139e4031a00d2d1307ed4991a445ec0c2671d"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: false,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "1703030035cbe41cc399616d0fa0d113def1129913bb8258b00b902cabb3ee0cce190e26"
        + "29ebfac7203d7c6e40012706d766699b0769f09814e7"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: false,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "170303003523948a2ea41d26ce142c922e1e9ae7f5bce2599b7bfc3be0c1d5050a38f315"
        + "453114094775177d01380ffe7aa7e2ed6dc5cff866cf"),
    GeneratedRecord(
      GNUTLS_CIPHER_CHACHA20_POLY1305, isModern: false,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "fd8aeae13a4841e60470a2d5222fb71fca6b7dad7f15db3c5fd4237590134844",
      iv: "b458278bf8da00e3c43cc4c7",
      record: "1703030035b7a39654f0727557d2c84c3af3da2cbc611fa571926cb0fa49b13ee677ff2a"
        + "f9a9ca4d4a50cba30912433f00d182503796936b2cda"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "370a8c81eab3f2f58d02ff8c9ac9874a",
      iv: "3247ee9a042b3041a6d593b0",
      record: "170303003609d66876bbaadf7706ed033930e560f467a4aca7341c2c0702fdf75bf24fb5"
        + "f319199f07a567b1ae50a4be7e57704e47f131a262f9e1"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "370a8c81eab3f2f58d02ff8c9ac9874a",
      iv: "3247ee9a042b3041a6d593b0",
      record: "170303003663c5b6ba3a3f1c7990f003fff0bd73d25d6e77f6f5a9ab46469201cc29613f"
        + "a9c6c60870d67a79546cb78d1c82f6b2f415d18c4f5c91"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_CCM, isModern: true,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "370a8c81eab3f2f58d02ff8c9ac9874a",
      iv: "3247ee9a042b3041a6d593b0",
      record: "17030300364683d5f4828f3974eeb4af7613e401f848ea6eb34f4062e3d2b0624b8b065a"
        + "a2ef1e16530935040180cea31d2d7b737b52da1a6ee48c"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_CCM, isModern: true,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "370a8c81eab3f2f58d02ff8c9ac9874a",
      iv: "3247ee9a042b3041a6d593b0",
      record: "1703030036cf22d4ce9a39b2cc5066f6d0a790cde15602659ce748bc46029e1912e58f1a"
        + "162f9ceae9607f9e5406f5fb8af2c573be99dd075ae865"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_128_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "370a8c81eab3f2f58d02ff8c9ac9874a",
      iv: "3247ee9a042b3041a6d593b0",
      record: "170303004155757188a3875b57057948f309897917bccdf978a7e57adf0129f4089c82b9"
        + "300c9d9c2d07281feda97812a0ff9f9ab2fd11c5ee86452032b947476a57961c7d61"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0000, isOwnForm: true,
      key: "30325d8dad80c700f68e98034d572cc6ba4c616957a315a31a04a91c789cc98b",
      iv: "1a33910d77f26a68ca1a19eb",
      record: "170303003635765f291e917fb826fcc3526a042efcbc25baad75a0beed21b19daf26f84c"
        + "be48842c2d74bede31c6cebf39f55d5df7da0863036a21"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0001, isOwnForm: true,
      key: "30325d8dad80c700f68e98034d572cc6ba4c616957a315a31a04a91c789cc98b",
      iv: "1a33910d77f26a68ca1a19eb",
      record: "17030300363315c64171897493e879f62d9b8e2a6b7516e530959eaf525f5d038fb548a6"
        + "6eb4960382ac374c040b5f61ae8f4793992313dfbfb7d0"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_CCM, isModern: true,
      sequence: 0x0000_0001_0000_0005, isOwnForm: true,
      key: "30325d8dad80c700f68e98034d572cc6ba4c616957a315a31a04a91c789cc98b",
      iv: "1a33910d77f26a68ca1a19eb",
      record: "17030300363d1224170a73996d0e49f247d0ada8ada47faa9f59b4b469f88be54be27033"
        + "04b8c50ae3dcdfa34a168bf3162ce0a6241fb0f87ee9ec"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_CCM, isModern: true,
      sequence: 0x0102_0304_0506_0708, isOwnForm: true,
      key: "30325d8dad80c700f68e98034d572cc6ba4c616957a315a31a04a91c789cc98b",
      iv: "1a33910d77f26a68ca1a19eb",
      record: "17030300361b98dbd4949c559b093e3538e7093822c3b4a030b49c1dbabf24566d3cae12"
        + "361341b9df54dd2d329293dc406be8eb51eebb589f124c"),
    GeneratedRecord(
      GNUTLS_CIPHER_AES_256_CCM, isModern: true,
      sequence: 0x0000_0000_0000_0009, isOwnForm: false,
      key: "30325d8dad80c700f68e98034d572cc6ba4c616957a315a31a04a91c789cc98b",
      iv: "1a33910d77f26a68ca1a19eb",
      record: "17030300415703011465c7c7fa5f9086497f32aced4e4d6c0e129e3bd70ed49b6899f46f"
        + "ada937b1d653b38ec92ac4ddcc42e917a643fb2906ae6dab4e8b40e221053b6af1b3"),
  ]
}
