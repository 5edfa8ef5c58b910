/* The SHA-256 part of data/file.h. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"

static void to_hex(const unsigned char digest[32], char hex[BEAM_SHA256_HEX])
{
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void beam_sha256(const void *bytes, size_t size, char hex[BEAM_SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    BEAM_ASSERT(EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL) == 1);
    to_hex(digest, hex);
}

static beam_status hash_descriptor(int fd, const char *path, EVP_MD_CTX *hash, unsigned char *buffer,
                                   size_t size, char hex[BEAM_SHA256_HEX])
{
    bool ok = EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    for (;;) {
        const ssize_t n = read(fd, buffer, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            break;
        ok = ok && EVP_DigestUpdate(hash, buffer, (size_t)n) == 1;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!ok || EVP_DigestFinal_ex(hash, digest, NULL) != 1)
        return BEAM_FAIL(BEAM_EINTERNAL, "%s: OpenSSL cannot compute its SHA-256", path);
    to_hex(digest, hex);
    return BEAM_OK;
}

beam_status beam_sha256_file(const char *path, char hex[BEAM_SHA256_HEX])
{
    enum { BUFFER = 1 << 18 };
    beam_status s;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* does not wait for a pipe's other end */
    if (fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", path, strerror(errno));
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    unsigned char *buffer = malloc(BUFFER);
    if (hash && buffer)
        s = hash_descriptor(fd, path, hash, buffer, BUFFER, hex);
    else
        s = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to compute its SHA-256", path);
    free(buffer);
    EVP_MD_CTX_free(hash);
    close(fd);
    return s;
}

uint64_t beam_sha256_short(const char hex[BEAM_SHA256_HEX])
{
    char first[17];
    memcpy(first, hex, 16);
    first[16] = '\0';
    return strtoull(first, NULL, 16);
}
