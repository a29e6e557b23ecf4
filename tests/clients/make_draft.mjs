// Uploads photos as a recipe of docs/api.md says, and makes a draft of them.
export async function makeDraft(uploadPhotos, server, files) {
  const body = JSON.stringify({ title: 'resumed', uploads: await uploadPhotos(server, files) });
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': 'the-draft-of-this-test' };
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch(`${server}/api/v1/listings`, { method: 'POST', headers, body });
      return await response.json();
    } catch (broken) {
      if (attempt === 5) throw broken;
    }
  }
}
