// Command vault is HashiCorp Vault 1.13 (MPL-2.0) for tests: in memory, sealed until somebody initialises it, with the
// transit engine and the AppRole and Kubernetes auth methods, on free ports of loopback.
//
// Vault is under the MPL 2.0. It is linked into this program for tests, and nothing of it is in Keypod.
//
// It prints three lines: the address over HTTP, the address over TLS (empty without -cert), and the address of a
// stand-in for Kubernetes' TokenReview, which takes any token whose signature is the word "genuine".
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

var engines = map[string]logical.Factory{"transit": transit.Factory}
var methods = map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory}

// registry is what Core asks whether it knows an engine or a method; without one it panics at the first mount.
type registry struct{}

func (registry) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return engines
	case consts.PluginTypeCredential:
		return methods
	}
	return nil
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, found := r.of(kind)[name]
	return found
}

func (r registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, found := r.of(kind)[name]
	return func() (interface{}, error) { return factory, nil }, found
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r.of(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func main() {
	cert := flag.String("cert", "", "serve TLS as well, with this certificate in PEM")
	key := flag.String("key", "", "the certificate's private key")
	clientCA := flag.String("client-ca", "", "over TLS, want a client certificate that this one signed")
	flag.Parse()

	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, logger)
	must(err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		Logger:             logger,
		DisableMlock:       true,
		BuiltinRegistry:    registry{},
		LogicalBackends:    engines,
		CredentialBackends: methods,
	})
	must(err)
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})

	plain, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Printf("http://%s\n", plain.Addr())
	if *cert == "" {
		fmt.Println()
	} else {
		over := encrypted(*cert, *key, *clientCA)
		fmt.Printf("https://%s\n", over.Addr())
		go func() { must(http.Serve(over, handler)) }()
	}
	reviews, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Printf("http://%s\n", reviews.Addr())
	go func() { must(http.Serve(reviews, http.HandlerFunc(review))) }()
	must(http.Serve(plain, handler))
}

func encrypted(cert, key, clientCA string) net.Listener {
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		pem, err := os.ReadFile(clientCA)
		must(err)
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(pem)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	must(err)
	return listener
}

// review answers as the API server of Kubernetes does, for what Vault reads of it.
func review(writer http.ResponseWriter, request *http.Request) {
	var asked struct {
		Spec struct {
			Token string `json:"token"`
		} `json:"spec"`
	}
	_ = json.NewDecoder(request.Body).Decode(&asked)
	parts := strings.Split(asked.Spec.Token, ".")
	genuine := len(parts) == 3 && parts[2] == base64.RawURLEncoding.EncodeToString([]byte("genuine"))
	var claims struct {
		Subject string `json:"sub"`
	}
	if genuine {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims)
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(writer).Encode(map[string]interface{}{
		"apiVersion": "authentication.k8s.io/v1",
		"kind":       "TokenReview",
		"status": map[string]interface{}{
			"authenticated": genuine,
			"user":          map[string]interface{}{"username": claims.Subject, "uid": "keypod-test"},
		},
	})
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
