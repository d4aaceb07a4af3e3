// Command chaos breaks a real cluster on purpose, under load, and counts which
// of Holdfast's promises broke.
//
// It builds holdfast, starts nodes and a router as processes of their own, and
// knows nothing of their insides: it speaks HTTP to their doors and sends them
// signals, as users, operators and accidents do. A scenario is one kind of
// accident, repeated:
//
//	kill       kill -9 an owner, start it again
//	pause      freeze a node (SIGSTOP) for 0.5 to 10 s
//	restart    kill -9 and back at once, too fast for gossip to notice
//	join       a new node comes
//	drain      a node leaves with a good-bye
//	rolling    every node in turn leaves and comes back
//	logout     sessions are deleted while nodes die and freeze
//	partition  hosts in network namespaces, with the links between them cut
//	majority   the same in mode majority, again and again, after a rolling restart
//	firewall   peer ports that drop or refuse what comes to them
//	clock      the clock of a host is set, and a node starts on a wrong one
//	longdrain  a node leaves whose application works on long requests
//	fullstop   all nodes end at once, and start again with their disks
//	flip       the same, after the files of one node were damaged
//	diskfull   the disk of a node fills up, or the disks of all nodes
//	bigdrain   a node with 100,000 sessions of 1 KB leaves
//
// What happens to one request: a worker of the [load] picks a session's
// [ledger] and a [door], notes in the ledger what it is about to try, sends it
// over a keep-alive [conn], and gives the answer to the ledger, which knows
// what had been acknowledged when the request was sent. An answer that lacks
// an acknowledged write is stale; 404 or 410 for a session that lives is a
// false "not found". The [tally] counts, and keeps the first cases with the
// history of their session. Each scenario turns its tally into rows of a
// [report] and holds them against what was promised.
//
// A load shows whether what a cluster says is true. That it says anything is
// shown by [visits]: new users at every endpoint, of which a share must be
// served that the scenario states.
//
// Each session is either one whose writes wait for a replica or one whose
// writes do not; both run side by side through the same accidents, because
// they are promised different things.
package main
