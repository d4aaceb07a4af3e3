// Package simulation runs clusters of whole nodes in one process, on a network
// of its own and in virtual time, breaks them, and checks what they promise.
//
// The life of one test: it opens a bubble of testing/synctest, in which time
// moves only when every goroutine waits, so a minute of cluster life takes a
// second or two. [New] makes the hosts and [Cluster.Start] calls node.Start on
// each with a Network (network.go, conn.go, transport.go) that carries
// connections and gossip in memory, with delays, losses, cuts, pauses and
// crashes. Workers (load.go) put sessions through every node's door and write
// down what they asked and were told (history.go). Meanwhile a schedule of
// faults, drawn from a seed (schedule.go), is played. Watch (watch.go) looks
// every few milliseconds whether two nodes serve one partition. In the end the
// faults stop, the cluster has a bounded time to agree on one ring and equal
// copies ([Cluster.Agree]), and the history is held against the promises
// (check.go).
//
// TestSwarm draws more than faults from its seed: the whole configuration
// (swarm.go) and mishaps that overlap (mishap.go, impair.go), families of
// operations beside the first ones (families.go, check_more.go), what is lost by
// right when processes end (loss.go), and what must be served all the same. Some
// of its workers call the Go API of a node, others speak HTTP or the Redis
// protocol to a node, or HTTP to a router (doors.go, door_http.go,
// door_redis.go). What these know of a call is what a user's program knows: a
// status, headers, the text of an error.
//
// # What a seed means
//
// A seed determines the faults, their times and what the workers ask. It does
// not determine the order in which the goroutines of one instant run, nor the
// random numbers that nodes draw themselves, so a seed that failed once may
// pass the next time. That is why a failure prints the schedule as it was
// played and the history of the key, and why -count helps:
//
//	go test ./test/simulation -run TestChaos -seed 17 -count 20
//	go test ./test/simulation -run TestSwarm/17 -count 20
//
// # What the fake differs in
//
// A pause holds up what a process would do next at its system calls, and in
// front of its store; code between the two runs on. A cut holds up what is on
// its way on a connection, as TCP does; when it heals, what was held waits as
// long again as the cut took at most, which is how long TCP's next attempt may
// take. A connection without anything under way ends after 30 s of a cut, as
// Go's keep-alives find it.
package simulation
