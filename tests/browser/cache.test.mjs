// What the cache keeps is seen, found and forgotten.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { comesToShow, launch, shows } from './chromium.mjs';
import { ask, serve } from './gateway.mjs';
import { makeKey, owner } from './people.mjs';

const file = { after };
const browser = await launch(file);
const gateway = await serve(file);

for (const options of [{}, { javaScriptEnabled: false }]) {
  const how = options.javaScriptEnabled === false ? ' without a script' : '';
  test(`entries are found and forgotten${how}`, async (t) => {
    const page = await owner(t, browser, gateway, `keeper${how.length}`, options);
    const key = await makeKey(page, 'of the keeper');
    const asked = async (model) => (await ask(gateway, key, 'What is kept?', model)).headers.get('x-cache');
    assert.deepEqual([await asked('demo-small'), await asked('demo-large')], ['MISS', 'MISS']);
    await page.goto('/cache');
    const models = page.getByRole('rowheader');
    // They are written behind the requests, in either order.
    await comesToShow(page, 'demo-small');
    await comesToShow(page, 'demo-large');
    assert.equal(await models.count(), 2);

    await page.getByLabel('Model or hash').fill('demo-small');
    await page.getByRole('button', { name: 'Search' }).click();
    await models.filter({ hasText: 'demo-large' }).waitFor({ state: 'detached' });
    assert.deepEqual(await models.allTextContents(), ['demo-small']);
    assert.equal(new URL(page.url()).searchParams.get('q'), 'demo-small');

    await page.getByRole('button', { name: /^Forget the entry/ }).click();
    await page.getByRole('status').waitFor();
    assert.deepEqual([await asked('demo-small'), await asked('demo-large')], ['MISS', 'HIT']);

    await page.goto('/cache');
    await page.locator('summary', { hasText: 'Forget everything' }).click();
    await page.getByRole('button', { name: /^Forget all entries/ }).click();
    await shows(page, 'Nothing is kept yet');
    assert.deepEqual([await asked('demo-small'), await asked('demo-large')], ['MISS', 'MISS']);
  });
}
