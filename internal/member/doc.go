// Package member says who takes part in a cluster, as one of its members sees
// it. All of it is values; nothing here opens a connection.
//
// A process is known by its [ID], a name and a boot. What it says of itself
// travels through gossip as its [Meta]. What is known of it here, by gossip and
// by the connections to it, is a [Member]; all members at one moment, and the
// ring that follows from them, are a [View].
package member
