// The virsh commands whose results must be the same directly and through the broker.

extension Scenario {
  /// For a lab in which the guest `idle` runs.
  static let all: [Scenario] = [
    Scenario(
      "the host",
      """
      qemu hostname
      qemu version --daemon
      qemu nodeinfo
      qemu nodecpumap
      qemu maxvcpus qemu
      qemu sysinfo
      qemu capabilities
      qemu domcapabilities --virttype qemu
      qemu cpu-models x86_64
      qemu cpu-compare $DIR/cpu.xml
      qemu cpu-baseline $DIR/cpu.xml
      qemu hypervisor-cpu-compare --virttype qemu $DIR/cpu.xml
      qemu freecell
      qemu freepages --cellno 0 --pagesize 2048
      qemu node-memory-tune
      storage find-storage-pool-sources-as dir
      """),
    Scenario(
      "a running guest",
      """
      qemu qemu-monitor-command --hmp idle info status
      qemu qemu-monitor-command --pretty idle {"execute":"query-status"}
      qemu suspend idle
      qemu domstate --reason idle
      qemu resume idle
      qemu domstate --reason idle
      qemu list --all
      qemu list --all --title --uuid
      qemu dominfo idle
      qemu domid idle
      qemu domuuid idle
      qemu domstate --reason idle
      qemu domcontrol idle
      qemu dumpxml idle
      qemu dumpxml --migratable idle
      qemu domblklist --details idle
      qemu domblkinfo --all idle
      qemu domblkstat idle hda
      qemu domblkerror idle
      qemu domiflist idle
      qemu domifaddr idle
      qemu vcpucount idle
      qemu vcpuinfo idle
      qemu vcpupin idle
      qemu emulatorpin idle
      qemu iothreadinfo idle
      qemu guestvcpus idle
      qemu memtune idle
      qemu numatune idle
      qemu schedinfo idle
      qemu domstats --state --perf idle
      qemu domstats --block --interface idle
      qemu domjobinfo idle
      qemu domjobabort idle
      qemu ttyconsole idle
      qemu domdisplay --all idle
      qemu vncdisplay idle
      qemu perf idle
      qemu send-key idle KEY_A
      qemu inject-nmi idle
      qemu domhostname idle
      qemu domtime idle
      qemu guestinfo idle
      qemu qemu-agent-command idle {}
      qemu lxc-enter-namespace idle --noseclabel /bin/true
      """),
    Scenario(
      "a defined guest",
      """
      qemu define $DIR/plain.xml --validate
      qemu list --all --persistent
      qemu dumpxml --inactive plain
      qemu dominfo plain
      qemu desc plain
      qemu desc --config plain --title titled
      qemu desc --title plain
      qemu metadata plain http://example.org/ns --key k --set <a/>
      qemu metadata plain http://example.org/ns
      qemu autostart plain
      qemu autostart --disable plain
      qemu setmaxmem plain 32768 --config
      qemu setmem plain 16384 --config
      qemu setvcpus plain 1 --config
      qemu vcpucount plain
      qemu attach-device plain $DIR/cdrom.xml --config
      qemu change-media plain hdc $DIR/volume.xml --insert --config
      qemu change-media plain hdc --eject --config
      qemu detach-disk plain hdc --config
      qemu detach-disk plain hdc --config
      qemu domxml-to-native qemu-argv --domain plain
      qemu domrename plain simple
      qemu domrename simple plain
      qemu managedsave-dumpxml plain
      qemu suspend plain
      qemu undefine plain
      qemu dominfo plain
      """),
    Scenario(
      "starting and stopping a guest",
      """
      qemu create $DIR/plain.xml --paused
      qemu domstate --reason plain
      qemu resume plain
      qemu attach-device plain $DIR/nodevice.xml
      qemu save plain $DIR/saved
      qemu save-image-dumpxml $DIR/saved
      qemu restore $DIR/saved --paused
      qemu reset plain
      qemu reboot plain --mode agent
      qemu destroy plain
      qemu destroy plain
      """),
    Scenario(
      "snapshots",
      """
      qemu define $DIR/plain.xml
      qemu snapshot-create-as plain one first
      qemu snapshot-create plain $DIR/snapshot.xml
      qemu snapshot-list plain --tree
      qemu snapshot-list plain
      qemu snapshot-info plain one
      qemu snapshot-current --name plain
      qemu snapshot-parent plain two
      qemu snapshot-dumpxml plain one
      qemu snapshot-revert plain one
      qemu snapshot-delete plain two
      qemu snapshot-delete plain one
      qemu snapshot-delete plain one
      qemu checkpoint-list plain
      qemu undefine plain
      """),
    Scenario(
      "storage pools and volumes",
      """
      storage pool-list --all
      storage pool-capabilities
      storage pool-define $DIR/pool.xml
      storage pool-build defined
      storage pool-start defined
      storage pool-autostart defined
      storage pool-autostart --disable defined
      storage pool-list --all
      storage pool-info defined
      storage pool-dumpxml defined
      storage pool-uuid defined
      storage pool-name 2f6de1c1-9f3c-4c3f-9e0b-3a0f6f1f7a02
      storage vol-create-as defined one 1M
      storage vol-create-as defined two 1M --format qcow2 --allocation 0
      storage vol-create defined $DIR/volume.xml
      storage vol-create defined $DIR/volume.xml
      storage vol-list defined --details
      storage vol-info one --pool defined
      storage vol-info two --pool defined --bytes
      storage vol-dumpxml three --pool defined
      storage vol-key one --pool defined
      storage vol-path one --pool defined
      storage vol-name $DIR/pool/one
      storage vol-pool $DIR/pool/one
      storage vol-clone one four --pool defined
      storage vol-resize one 2M --pool defined
      storage vol-wipe one --pool defined
      storage vol-delete one --pool defined
      storage vol-delete two --pool defined
      storage vol-delete three --pool defined
      storage vol-delete four --pool defined
      storage vol-delete four --pool defined
      storage pool-refresh defined
      storage vol-list defined
      storage pool-destroy defined
      storage pool-undefine defined
      storage pool-create-as passing dir --target $DIR/pool
      storage pool-destroy passing
      storage pool-info passing
      """),
    Scenario(
      "networks",
      """
      network net-list --all
      network net-define $DIR/network.xml
      network net-start quiet
      network net-start quiet
      network net-list
      network net-info quiet
      network net-dumpxml quiet
      network net-uuid quiet
      network net-name 5a3a6a44-3f0f-4a55-9a0f-b2e4a6a14c03
      network net-autostart quiet
      network net-update quiet add-last portgroup $DIR/portgroup.xml --live --config
      network net-update quiet delete portgroup $DIR/portgroup.xml --live --config
      network net-dhcp-leases quiet
      network net-port-list quiet
      network net-port-create quiet $DIR/port.xml
      network net-port-dumpxml quiet 7d1c1e2b-8a3f-4b7e-8a55-0d6a2c7e9f05
      network net-port-delete quiet 7d1c1e2b-8a3f-4b7e-8a55-0d6a2c7e9f05
      network net-destroy quiet
      network net-undefine quiet
      network net-create $DIR/transient.xml
      network net-info passing
      network net-destroy passing
      network net-info passing
      """),
    Scenario(
      "node devices",
      """
      nodedev nodedev-list
      nodedev nodedev-list --tree
      nodedev nodedev-list --cap net
      nodedev nodedev-dumpxml computer
      nodedev nodedev-dumpxml net_lo_00_00_00_00_00_00
      nodedev nodedev-dumpxml nosuch
      nodedev nodedev-detach nosuch
      """),
    Scenario(
      "interfaces",
      """
      interface iface-list --all
      interface iface-dumpxml lo
      interface iface-mac lo
      interface iface-define $DIR/bridge.xml
      interface iface-start nosuch
      """),
    Scenario(
      "secrets",
      """
      secret secret-define $DIR/secret.xml
      secret secret-set-value 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07 --base64 c2VjcmV0
      secret secret-get-value 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07
      secret secret-dumpxml 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07
      secret secret-list
      secret secret-undefine 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07
      secret secret-undefine 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07
      """),
    Scenario(
      "network filters",
      """
      nwfilter nwfilter-list
      nwfilter nwfilter-define $DIR/filter.xml
      nwfilter nwfilter-list
      nwfilter nwfilter-dumpxml nothing-out
      nwfilter nwfilter-binding-list
      nwfilter nwfilter-undefine nothing-out
      nwfilter nwfilter-dumpxml nothing-out
      """),
    Scenario(
      "mistakes",
      """
      qemu dominfo nosuch
      qemu start nosuch
      qemu define $DIR/broken.xml
      qemu snapshot-list nosuch
      qemu migrate idle qemu+tcp://127.0.0.1:1/system
      qemu console nosuch
      qemu screenshot nosuch
      qemu event nosuch lifecycle --timeout 1
      storage pool-start nosuch
      storage vol-info nosuch
      storage vol-download nosuch $DIR/nothing
      storage pool-define $DIR/broken.xml
      network net-start nosuch
      network net-define $DIR/broken.xml
      secret secret-get-value 0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07
      nwfilter nwfilter-define $DIR/broken.xml
      """),
  ]

  /// For a connection to libvirt's test driver, which only a monolithic daemon has.
  static let testDriver = Scenario(
    "the test driver",
    """
    test list --all
    test hostname
    test nodeinfo
    test capabilities
    test dominfo test
    test dumpxml test
    test domstate test
    test vcpuinfo test
    test domstats test --state
    test suspend test
    test resume test
    test pool-list --all
    test pool-dumpxml default-pool
    test vol-list default-pool
    test net-list --all
    test net-dumpxml default
    test iface-list
    test nodedev-list
    test nodedev-dumpxml computer
    test dominfo nosuch
    test secret-list
    """)

  /// For connections to `storage:///system`, `network:///system` and so on.
  static let onOwnURI = [
    Scenario("storage alone", "storage pool-list --all\nstorage list --all"),
    Scenario("network alone", "network net-list --all\nnetwork pool-list"),
    Scenario("nodedev alone", "nodedev nodedev-list"),
    Scenario("secret alone", "secret secret-list"),
    Scenario("nwfilter alone", "nwfilter nwfilter-list"),
    Scenario("interface alone", "interface iface-list --all"),
  ]
}
