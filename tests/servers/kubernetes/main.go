// Command kubernetes is the API server of Kubernetes (Apache-2.0) for tests, with an etcd (Apache-2.0) of its own: on
// free ports of loopback, with its files in the folder that it is given. There is no node and no scheduler: pods can be
// made and never run, which is all that tokens bound to them need.
//
// It is linked into this program for tests, and nothing of it is in Keypod.
//
// In the folder it finds issuer.key and issuer.pub (which sign and check service accounts' tokens), server.pem and server.key (for TLS), and
// tokens.csv (static tokens of administrators). It prints its address when it is ready.
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

func main() {
	folder := os.Args[1]
	store := etcd(filepath.Join(folder, "etcd"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	port := listener.Addr().(*net.TCPAddr).Port
	must(listener.Close())

	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=" + store,
		"--bind-address=127.0.0.1",
		// It wants one that is not loopback; nobody is told this one (RFC 5737).
		"--advertise-address=192.0.2.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + filepath.Join(folder, "server.pem"),
		"--tls-private-key-file=" + filepath.Join(folder, "server.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--token-auth-file=" + filepath.Join(folder, "tokens.csv"),
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + filepath.Join(folder, "issuer.pub"),
		"--service-account-signing-key-file=" + filepath.Join(folder, "issuer.key"),
		// Nobody makes the account `default` of a namespace here, and pods are to be made all the same.
		"--disable-admission-plugins=ServiceAccount",
	})
	command.SetOut(os.Stderr)
	command.SetErr(os.Stderr)
	address := fmt.Sprintf("https://127.0.0.1:%d", port)
	go func() {
		until(address + "/readyz")
		fmt.Println(address)
	}()
	// It heeds signals by itself.
	must(command.Execute())
}

// etcd starts a store and gives its address.
func etcd(folder string) string {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = free, free
	config.ListenPeerUrls, config.AdvertisePeerUrls = free, free
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	running, err := embed.StartEtcd(config)
	must(err)
	<-running.Server.ReadyNotify()
	return "http://" + running.Clients[0].Addr().String()
}

// until waits until the address answers with 200, which everybody may see.
func until(address string) {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for {
		answer, err := client.Get(address)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
